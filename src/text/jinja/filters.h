// Filters (`value | name(...)`) and tests (`value is name ...`): two tables.
#pragma once

#include <span>

#include "text/jinja/run.h"

namespace twofold::jinja {

using Filter = Value (*)(Run& run, const Value& input, const Arguments& arguments);
struct FilterRow {
  std::string_view name;
  Filter filter;
};

using Test = bool (*)(Run& run, const Value& input, const Arguments& arguments);
struct TestRow {
  std::string_view name;
  Test test;
};

/// Of single values, and of lists.
std::span<const FilterRow> value_filters();
std::span<const FilterRow> list_filters();
std::span<const TestRow> tests();

bool has_filter(std::string_view name);
bool has_test(std::string_view name);
/// @throws Error(kUnsupported) listing the names if there is none of that name.
Value call_filter(Run& run, std::string_view name, const Value& input, const Arguments& arguments);
bool call_test(Run& run, std::string_view name, const Value& input, const Arguments& arguments);

}  // namespace twofold::jinja

// What Python's operators do with values: truth, comparison, arithmetic, membership, subscripts,
// iteration and printing. Integers are 64 bits wide; a result beyond is an error.
#pragma once

#include "text/jinja/run.h"

namespace twofold::jinja {

bool truth(Run& run, const Value& value);
/// ==; also of dicts and nested lists.
bool equal(Run& run, const Value& a, const Value& b);
/// < 0, 0, > 0; @throws Error if they have no order. NaN compares as unordered: nullopt.
std::optional<int> order(Run& run, const Value& a, const Value& b, std::string_view sign);

enum class Sign { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
Value arithmetic(Run& run, Sign sign, const Value& a, const Value& b);
Value negated(Run& run, const Value& value);
Value posited(Run& run, const Value& value);

/// `value in container`.
bool contains(Run& run, const Value& container, const Value& value);
/// The value of a dict's key, or null. @throws Error on a list or dict as key.
const Value* find_key(Run& run, const Dict& dict, const Value& key);
/// Adds or replaces.
void put(Run& run, std::vector<std::pair<Value, Value>>& entries, Value key, Value value);

/// value[key] as Jinja has it: the item, else the attribute of that name, else undefined.
Value subscript(Run& run, const Value& value, const Value& key);
/// value.name: the attribute (a method), else the item, else undefined.
Value attribute(Run& run, const Value& value, std::string_view name);
/// value[begin:end:step]; absent parts are None.
Value slice(Run& run, const Value& value, const Value& begin, const Value& end, const Value& step);

/// What a `for` over it gives; uses up a generator. @throws Error if it is not iterable.
std::vector<Value> iterate(Run& run, const Value& value);
bool is_iterable(const Value& value);
/// len(); @throws Error if it has none.
int64_t length(Run& run, const Value& value);
/// The items of a slice of a sequence of n by Python's rules: from `begin` up to or down to `end`.
struct SliceRange {
  int64_t begin, end;
  int64_t step;        // at most n + 1 either way: sums with it cannot overflow
  int64_t given_step;  // as written
};
SliceRange slice_range(Run& run, int64_t n, const Value& begin, const Value& end,
                       const Value& step);

/// str() and repr().
std::string to_text(Run& run, const Value& value);
std::string to_repr(Run& run, const Value& value);
std::string float_text(double value);
/// repr() of a text: quoted, escaped.
std::string quoted_text(std::string_view text);
/// json.dumps.
struct JsonLayout {
  bool ensure_ascii = false, sort_keys = false;
  std::optional<std::string> indent;  // one level of it
  std::string item_separator = ", ", key_separator = ": ";
};
std::string to_json(Run& run, const Value& value, const JsonLayout& layout);
/// `format % value`.
std::string printf_text(Run& run, std::string_view format, const Value& value);

/// @throws Error with the value's message: it is undefined and more is asked than it allows.
[[noreturn]] void fail_undefined(Run& run, const Value& value);

}  // namespace twofold::jinja

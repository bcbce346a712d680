// Methods of strings, dicts and lists, those that change nothing.
#pragma once

#include "text/jinja/run.h"

namespace twofold::jinja {

/// `value.name` as something to call; none if Python's type has no such method, or the sandbox
/// refuses it because it changes the value.
/// @throws Error(kUnsupported) for methods that Python has and this does not.
std::optional<Value> bound_method(Run& run, const Value& value, std::string_view name);

/// format_text("{} {name}", ...): str.format with fields by position or name, without attributes.
std::string format_text(Run& run, std::string_view format, const Arguments& arguments);

}  // namespace twofold::jinja

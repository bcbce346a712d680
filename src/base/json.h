// JSON through nlohmann/json with our errors and limits. Headers of other layers include
// <nlohmann/json_fwd.hpp>; sources include this file.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace twofold {

using Json = nlohmann::json;
/// Keeps the order of keys, for files that people read.
using OrderedJson = nlohmann::ordered_json;

/// Deepest nesting of arrays and objects that `parse_json` accepts.
inline constexpr int kMaxJsonDepth = 256;

/// What to do about a key that an object has twice. Files of models in the wild have such keys, and
/// their own tools take the last; in files that people write for us they are mistakes.
enum class RepeatedKeys { kLastWins, kRefused };

/// What the parser says of a text, without the name that the parser gives to the error.
std::string_view json_problem(const Json::exception& error);

/// Parses one JSON document. @throws Error(kCorruptFile) naming `where` on bad syntax, invalid
/// UTF-8, trailing text, nesting deeper than kMaxJsonDepth, or a repeated key if they are refused.
Json parse_json(std::string_view text, std::string_view where,
                RepeatedKeys repeated = RepeatedKeys::kLastWins);

/// One line per element for small arrays and objects, sorted as given; ends with a newline.
std::string dump_json(const OrderedJson& value, int indent = 2);

}  // namespace twofold

// Typed access to the fields of a model's config.json, with errors that name file, field, expected
// and found. A field that is absent or null takes the fallback.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "model/config.h"

namespace twofold {

class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, std::string_view where);

  bool has(std::string_view name) const;
  int64_t get_int(std::string_view name) const;  // >= 0 and < 2^40, or an error
  int64_t get_int(std::string_view name, int64_t fallback) const;
  double get_float(std::string_view name) const;
  double get_float(std::string_view name, double fallback) const;
  bool get_bool(std::string_view name, bool fallback) const;
  std::string get_string(std::string_view name, std::string_view fallback) const;
  /// A number or a list of numbers.
  std::vector<int32_t> get_ids(std::string_view name) const;
  /// The object of that name, or nothing.
  std::optional<JsonFields> get_object(std::string_view name) const;

  /// @throws Error(kUnsupported): "<where>: <name> = <value> is not supported (<why>)".
  [[noreturn]] void refuse(std::string_view name, std::string_view why) const;
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json* find(std::string_view name) const;
  [[noreturn]] void mistyped(std::string_view name, std::string_view expected) const;

  const nlohmann::json* object_;
  std::string where_;
};

/// The activation named by a config field. @throws Error(kUnsupported) listing those that are
/// known.
Activation parse_activation(const JsonFields& fields, std::string_view name,
                            std::string_view fallback);

/// rope_theta, rope_scaling and rope_parameters in both spellings; fills everything but `dims`.
RopeConfig parse_rope(const JsonFields& fields, double default_theta, int64_t context);

/// Checks that sides are positive and fit together (heads x head_dim, groups of heads).
/// @throws Error(kCorruptFile) naming the fields.
void check_config(const ModelConfig& config, std::string_view where);

}  // namespace twofold

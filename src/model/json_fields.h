// Typed access to the fields of a model's config.json, with errors that name file, field, expected
// and found. A field that is absent or null takes the fallback.
#pragma once

#include <functional>
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
  bool empty() const { return object_->empty(); }
  bool is_null(std::string_view name) const;     // there, as null
  int64_t get_int(std::string_view name) const;  // >= 0 and < 2^40, or an error
  int64_t get_int(std::string_view name, int64_t fallback) const;
  double get_float(std::string_view name) const;
  double get_float(std::string_view name, double fallback) const;
  bool get_bool(std::string_view name, bool fallback) const;
  std::string get_string(std::string_view name, std::string_view fallback) const;
  /// A number or a list of numbers.
  std::vector<int32_t> get_ids(std::string_view name) const;
  /// A list of numbers; empty if absent.
  std::vector<double> get_floats(std::string_view name) const;
  std::vector<std::string> get_strings(std::string_view name) const;
  /// The object of that name, or nothing.
  std::optional<JsonFields> get_object(std::string_view name) const;

  /// @throws Error(kUnsupported): "<where>: <name> = <value> is not supported (<why>)".
  [[noreturn]] void refuse(std::string_view name, std::string_view why) const;
  /// Refuses a field that is there and is not `only`.
  void require_bool(std::string_view name, bool only, std::string_view why) const;
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

/// What sets one family's rope apart when its fields are read.
struct RopeDefaults {
  double theta = 10000;
  std::string_view theta_name = "rope_theta";               // beside rope_scaling
  double partial = 1;                                       // share of a head that turns
  std::string_view partial_name = "partial_rotary_factor";  // likewise
  /// > 0: original_max_position_embeddings beside the object counts, not the one inside; this if
  /// absent.
  int64_t original_context = 0;
};

/// rope_scaling, else rope_parameters: as in the transformers library the former wins where both
/// are given, and a theta or partial factor inside wins over one beside it. Scaling types that
/// depend on the length seen so far ("dynamic") are refused.
RopeConfig parse_rope(const JsonFields& fields, int64_t head_dim, int64_t context,
                      const RopeDefaults& defaults = {});
/// The same from one object, e.g. an entry of rope_parameters by kind of layer; nothing in `object`
/// is looked for beside it.
RopeConfig parse_rope_object(const JsonFields& fields, const std::optional<JsonFields>& object,
                             int64_t head_dim, int64_t context, const RopeDefaults& defaults);

/// The size of a head, and the attention scale that belongs to it: 1 / sqrt(head_dim).
void set_head_dim(ModelConfig& config, int64_t head_dim);
/// The same of heads that share the hidden size.
void split_heads(ModelConfig& config);

/// The shape and the options that Llama's descendants share: sides, context, RMS norm, activation,
/// gated MLP, tied head. Rope, biases and everything particular are the caller's.
/// @param context the family's default.
ModelConfig parse_llama_like(const JsonFields& fields, std::string_view family,
                             int64_t context = 2048);

/// What the Gemmas share beyond that: activation, tied head, biases, factors.
void parse_gemma(ModelConfig& config, const JsonFields& fields);

/// sliding_window; 0 if it is null, `absent` if it is not there.
int64_t get_window(const JsonFields& fields, int64_t absent);
/// The same where it counts only if use_sliding_window says so, else 0.
int64_t get_optional_window(const JsonFields& fields, int64_t absent);
/// Qwen: layers from max_window_layers on have that window.
void set_later_windows(ModelConfig& config, const JsonFields& fields);
/// A window for every layer; 0: none.
void set_window(ModelConfig& config, int64_t window);

/// The configuration of each layer, as `of(layer)` says. Does nothing for a number of layers that
/// check_config refuses.
void set_layers(ModelConfig& config, const std::function<LayerConfig(int64_t layer)>& of);

/// Windows of layers: by layer_types if there are any, else as `slides(layer)` says.
void set_windows(ModelConfig& config, const JsonFields& fields, int64_t window,
                 const std::function<bool(int64_t layer)>& slides);

/// Checks that sides are positive and fit together (heads x head_dim, groups of heads).
/// @throws Error(kCorruptFile) naming the fields.
void check_config(const ModelConfig& config, std::string_view where);

}  // namespace twofold

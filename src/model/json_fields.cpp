#include "model/json_fields.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "model/rope_factors.h"

namespace twofold {
namespace {

struct ActivationName {
  std::string_view name;
  Activation activation;
};
// Names as in the transformers library; several stand for the same function.
constexpr std::array kActivations = {
    ActivationName{"silu", Activation::kSilu},
    ActivationName{"swish", Activation::kSilu},
    ActivationName{"gelu", Activation::kGeluErf},
    ActivationName{"gelu_new", Activation::kGeluTanh},
    ActivationName{"gelu_pytorch_tanh", Activation::kGeluTanh},
    ActivationName{"gelu_fast", Activation::kGeluTanh},
    ActivationName{"relu", Activation::kRelu},
};

std::string shortened(const nlohmann::json& value) {
  std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 60) + "...";
  return text;
}

}  // namespace

JsonFields::JsonFields(const nlohmann::json& object, std::string_view where)
    : object_(&object), where_(where) {
  if (!object.is_object()) {
    fail(ErrorCode::kCorruptFile, where_, "expected a JSON object, found {}", object.type_name());
  }
}

const nlohmann::json* JsonFields::find(std::string_view name) const {
  const auto it = object_->find(name);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

void JsonFields::mistyped(std::string_view name, std::string_view expected) const {
  const nlohmann::json* value = find(name);
  fail(ErrorCode::kCorruptFile, where_, "{}: expected {}, found {}", name, expected,
       value == nullptr ? "nothing" : shortened(*value));
}

bool JsonFields::has(std::string_view name) const { return find(name) != nullptr; }

bool JsonFields::is_null(std::string_view name) const {
  const auto it = object_->find(name);
  return it != object_->end() && it->is_null();
}

int64_t JsonFields::get_int(std::string_view name) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr || !value->is_number_integer()) mistyped(name, "an integer");
  const bool negative = !value->is_number_unsigned() && value->get<int64_t>() < 0;
  if (negative || value->get<uint64_t>() >= uint64_t{1} << 40) {
    mistyped(name, "an integer from 0 to 2^40");
  }
  return value->get<int64_t>();
}

int64_t JsonFields::get_int(std::string_view name, int64_t fallback) const {
  return has(name) ? get_int(name) : fallback;
}

double JsonFields::get_float(std::string_view name) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr || !value->is_number()) mistyped(name, "a number");
  const double number = value->get<double>();
  if (!std::isfinite(number)) mistyped(name, "a finite number");
  return number;
}

double JsonFields::get_float(std::string_view name, double fallback) const {
  return has(name) ? get_float(name) : fallback;
}

bool JsonFields::get_bool(std::string_view name, bool fallback) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) mistyped(name, "true or false");
  return value->get<bool>();
}

std::string JsonFields::get_string(std::string_view name, std::string_view fallback) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) mistyped(name, "a string");
  return value->get<std::string>();
}

std::vector<int32_t> JsonFields::get_ids(std::string_view name) const {
  const nlohmann::json* value = find(name);
  std::vector<int32_t> ids;
  if (value == nullptr) return ids;
  const auto add = [&](const nlohmann::json& item) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 || item.get<int64_t>() > INT32_MAX) {
      mistyped(name, "a token id or a list of them");
    }
    ids.push_back(item.get<int32_t>());
  };
  if (value->is_array()) {
    for (const nlohmann::json& item : *value) add(item);
  } else {
    add(*value);
  }
  return ids;
}

std::vector<double> JsonFields::get_floats(std::string_view name) const {
  std::vector<double> numbers;
  const nlohmann::json* value = find(name);
  if (value == nullptr) return numbers;
  if (!value->is_array()) mistyped(name, "a list of numbers");
  for (const nlohmann::json& item : *value) {
    if (!item.is_number() || !std::isfinite(item.get<double>())) {
      mistyped(name, "a list of finite numbers");
    }
    numbers.push_back(item.get<double>());
  }
  return numbers;
}

std::vector<std::string> JsonFields::get_strings(std::string_view name) const {
  std::vector<std::string> texts;
  const nlohmann::json* value = find(name);
  if (value == nullptr) return texts;
  if (!value->is_array()) mistyped(name, "a list of strings");
  for (const nlohmann::json& item : *value) {
    if (!item.is_string()) mistyped(name, "a list of strings");
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

void JsonFields::require_bool(std::string_view name, bool only, std::string_view why) const {
  if (get_bool(name, only) != only) refuse(name, why);
}

std::optional<JsonFields> JsonFields::get_object(std::string_view name) const {
  const nlohmann::json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) mistyped(name, "an object");
  return JsonFields(*value, fmt::format("{}: {}", where_, name));
}

void JsonFields::refuse(std::string_view name, std::string_view why) const {
  const nlohmann::json* value = find(name);
  fail(ErrorCode::kUnsupported, where_, "{} = {} is not supported ({})", name,
       value == nullptr ? "null" : shortened(*value), why);
}

Activation parse_activation(const JsonFields& fields, std::string_view name,
                            std::string_view fallback) {
  const std::string wanted = fields.get_string(name, fallback);
  std::string known;
  for (const ActivationName& row : kActivations) {
    if (row.name == wanted) return row.activation;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  }
  fields.refuse(name, "known: " + known);
}

namespace {

/// As in the transformers library (modeling_rope_utils.py); the method is arXiv:2309.00071.
void parse_yarn(RopeConfig& rope, const JsonFields& scaling) {
  rope.scaling = RopeScaling::kYarn;
  const auto or_if_zero = [](double value, double fallback) {
    return value != 0 ? value : fallback;
  };
  rope.beta_fast = or_if_zero(scaling.get_float("beta_fast", 32), 32);
  rope.beta_slow = or_if_zero(scaling.get_float("beta_slow", 1), 1);
  rope.truncate = scaling.get_bool("truncate", true);
  const auto scale = [&](double mscale) {
    return rope.factor <= 1 ? 1.0 : 0.1 * mscale * std::log(rope.factor) + 1;
  };
  const double top = scaling.get_float("mscale", 0), all = scaling.get_float("mscale_all_dim", 0);
  const double inferred = top != 0 && all != 0 ? scale(top) / scale(all) : scale(1);
  rope.attention_factor = scaling.get_float("attention_factor", inferred);
}

void parse_longrope(RopeConfig& rope, const JsonFields& scaling) {
  rope.scaling = RopeScaling::kLongRope;
  rope.short_factors = scaling.get_floats("short_factor");
  rope.long_factors = scaling.get_floats("long_factor");
  for (const std::vector<double>* factors : {&rope.short_factors, &rope.long_factors}) {
    if (std::ssize(*factors) != rope.dims / 2 ||
        !std::ranges::all_of(*factors, [](double x) { return x > 0; })) {
      fail(ErrorCode::kCorruptFile, scaling.where(),
           "short_factor and long_factor: expected {} positive numbers each, found {}",
           rope.dims / 2, factors->size());
    }
  }
  rope.attention_factor = scaling.get_float(
      "attention_factor", longrope_attention_factor(rope.factor, rope.original_context));
}

void parse_scaling(RopeConfig& rope, const JsonFields& scaling, const JsonFields& fields,
                   int64_t context, const RopeDefaults& defaults) {
  const bool new_name = scaling.has("rope_type");
  std::string type =
      scaling.get_string("rope_type", scaling.get_string("type", std::string_view("default")));
  // As published with Phi-3: "su", with the factors of "longrope".
  if (type == "su" || (type == "yarn" && scaling.has("short_factor"))) type = "longrope";
  if (type == "default") return;
  if (type != "linear" && type != "llama3" && type != "yarn" && type != "longrope") {
    scaling.refuse(new_name ? "rope_type" : "type",
                   "known: default, linear, llama3, yarn, longrope");
  }
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  rope.original_context = defaults.original_context > 0
                              ? fields.get_int(kOriginal, defaults.original_context)
                              : scaling.get_int(kOriginal, context);
  if (type != "linear" && rope.original_context <= 0) {
    fail(ErrorCode::kCorruptFile, scaling.where(), "expected a positive original context, found {}",
         rope.original_context);
  }
  if (type == "linear" || type == "llama3") {
    rope.factor = scaling.get_float("factor");
  } else {
    rope.factor = scaling.get_float(
        "factor", static_cast<double>(context) / static_cast<double>(rope.original_context));
  }
  if (!(rope.factor > 0)) {
    fail(ErrorCode::kCorruptFile, scaling.where(), "factor: expected a positive number, found {}",
         rope.factor);
  }
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    rope.low_freq_factor = scaling.get_float("low_freq_factor");
    rope.high_freq_factor = scaling.get_float("high_freq_factor");
    if (rope.low_freq_factor <= 0 || rope.high_freq_factor <= rope.low_freq_factor) {
      fail(ErrorCode::kCorruptFile, scaling.where(),
           "expected 0 < low_freq_factor < high_freq_factor");
    }
  } else if (type == "yarn") {
    parse_yarn(rope, scaling);
  } else {
    parse_longrope(rope, scaling);
  }
}

}  // namespace

RopeConfig parse_rope_object(const JsonFields& fields, const std::optional<JsonFields>& object,
                             int64_t head_dim, int64_t context, const RopeDefaults& defaults) {
  RopeConfig rope;
  rope.theta = fields.get_float(defaults.theta_name, defaults.theta);
  double partial = fields.get_float(defaults.partial_name, defaults.partial);
  if (object) {
    rope.theta = object->get_float("rope_theta", rope.theta);
    partial = object->get_float("partial_rotary_factor", partial);
  }
  if (!(partial > 0 && partial <= 1)) {
    fail(ErrorCode::kCorruptFile, fields.where(), "{}: expected 0 to 1, found {}",
         defaults.partial_name, partial);
  }
  rope.dims = static_cast<int64_t>(static_cast<double>(head_dim) * partial);
  if (object) parse_scaling(rope, *object, fields, context, defaults);
  return rope;
}

RopeConfig parse_rope(const JsonFields& fields, int64_t head_dim, int64_t context,
                      const RopeDefaults& defaults) {
  std::optional<JsonFields> object = fields.get_object("rope_scaling");
  if (!object || object->empty()) object = fields.get_object("rope_parameters");
  for (const char* kind : {"full_attention", "sliding_attention"}) {
    if (object && object->has(kind)) object->refuse(kind, "a rope for each kind of layer");
  }
  return parse_rope_object(fields, object, head_dim, context, defaults);
}

void set_head_dim(ModelConfig& c, int64_t head_dim) {
  c.head_dim = head_dim;
  c.attention_scale = head_dim > 0 ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1;
}

void split_heads(ModelConfig& c) { set_head_dim(c, c.heads > 0 ? c.hidden / c.heads : 0); }

ModelConfig parse_llama_like(const JsonFields& f, std::string_view family, int64_t context) {
  ModelConfig c;
  c.family = family;
  c.vocab_size = f.get_int("vocab_size");
  c.hidden = f.get_int("hidden_size");
  c.layers = f.get_int("num_hidden_layers");
  c.heads = f.get_int("num_attention_heads");
  c.kv_heads = f.get_int("num_key_value_heads", c.heads);
  split_heads(c);
  if (f.has("head_dim")) set_head_dim(c, f.get_int("head_dim"));
  c.intermediate = f.get_int("intermediate_size");
  c.context = f.get_int("max_position_embeddings", context);
  c.norm = NormKind::kRmsNorm;
  c.norm_eps = f.get_float("rms_norm_eps", 1e-6);
  c.activation = parse_activation(f, "hidden_act", "silu");
  c.gated_mlp = true;
  c.position = PositionKind::kRope;
  c.tied_head = f.get_bool("tie_word_embeddings", false);
  return c;
}

void parse_gemma(ModelConfig& c, const JsonFields& f) {
  c.activation = parse_activation(f, "hidden_activation", "gelu_pytorch_tanh");
  c.tied_head = f.get_bool("tie_word_embeddings", true);
  c.attention_bias = c.attention_out_bias = f.get_bool("attention_bias", false);
  c.embedding_scale = std::sqrt(static_cast<double>(c.hidden));
  const double scalar = f.get_float("query_pre_attn_scalar", 256);
  c.attention_scale = scalar > 0 ? 1 / std::sqrt(scalar) : 0;
  f.require_bool("use_bidirectional_attention", false, "this program runs causal models only");
}

int64_t get_window(const JsonFields& fields, int64_t absent) {
  return fields.get_int("sliding_window", fields.is_null("sliding_window") ? 0 : absent);
}

int64_t get_optional_window(const JsonFields& fields, int64_t absent) {
  const int64_t window = get_window(fields, absent);
  return fields.get_bool("use_sliding_window", false) ? window : 0;
}

void set_later_windows(ModelConfig& c, const JsonFields& fields) {
  const int64_t window = get_optional_window(fields, 4096);
  const int64_t first = fields.get_int("max_window_layers", 28);
  set_windows(c, fields, window, [&](int64_t layer) { return window > 0 && layer >= first; });
}

void set_window(ModelConfig& c, int64_t window) {
  if (window != 0) set_layers(c, [&](int64_t) { return LayerConfig{.window = window}; });
}

void set_layers(ModelConfig& c, const std::function<LayerConfig(int64_t layer)>& of) {
  if (c.layers <= 0 || c.layers > 1 << 20) return;
  c.layer_configs.resize(static_cast<size_t>(c.layers));
  for (int64_t i = 0; i < c.layers; ++i) c.layer_configs[static_cast<size_t>(i)] = of(i);
}

void set_windows(ModelConfig& c, const JsonFields& fields, int64_t window,
                 const std::function<bool(int64_t layer)>& slides) {
  constexpr std::string_view kSliding = "sliding_attention", kFull = "full_attention";
  const std::vector<std::string> types = fields.get_strings("layer_types");
  if (!types.empty() && std::ssize(types) != c.layers) {
    fields.refuse("layer_types", fmt::format("expected one for each of {} layers", c.layers));
  }
  if (c.layers <= 0 || c.layers > 1 << 20) return;  // check_config refuses it
  c.layer_configs.resize(static_cast<size_t>(c.layers));
  for (int64_t i = 0; i < c.layers; ++i) {
    const size_t at = static_cast<size_t>(i);
    if (!types.empty() && types[at] != kSliding && types[at] != kFull) {
      fields.refuse("layer_types", fmt::format("known: {}, {}", kSliding, kFull));
    }
    const bool sliding = types.empty() ? slides(i) : types[at] == kSliding;
    if (sliding && window <= 0) {
      // The transformers library drops the window, and then fails for want of one.
      if (!fields.get_bool("use_sliding_window", false) && get_window(fields, 1) > 0) {
        fields.refuse("layer_types", "sliding_attention needs use_sliding_window = true");
      }
      fail(ErrorCode::kCorruptFile, fields.where(),
           "sliding_window: expected a positive number, found {}", window);
    }
    if (sliding) c.layer_configs[at].window = window;
  }
}

namespace {

/// @param which stands in front of the message.
void check_rope(const RopeConfig& rope, const ModelConfig& c, std::string_view where,
                std::string_view which) {
  if (rope.dims <= 0 || rope.dims > c.head_dim || rope.dims % 2 != 0) {
    fail(ErrorCode::kCorruptFile, where,
         "{}rope turns {} numbers of a head of {}: expected an even number up to the head size",
         which, rope.dims, c.head_dim);
  }
  if (!(rope.theta > 0)) {
    fail(ErrorCode::kCorruptFile, where, "{}rope_theta: expected a positive number, found {}",
         which, rope.theta);
  }
}

/// More than any model has; keeps sums of sides far from overflow.
constexpr int64_t kMostExperts = 1 << 16;

}  // namespace

void check_config(const ModelConfig& c, std::string_view where) {
  struct Side {
    const char* name;
    int64_t value;
  };
  for (const Side& side :
       {Side{"vocabulary size", c.vocab_size}, Side{"hidden size", c.hidden},
        Side{"number of layers", c.layers}, Side{"number of heads", c.heads},
        Side{"number of key-value heads", c.kv_heads}, Side{"head size", c.head_dim},
        Side{"intermediate size", c.intermediate}, Side{"context length", c.context}}) {
    if (side.value <= 0 || side.value > int64_t{1} << 31) {
      fail(ErrorCode::kCorruptFile, where, "{}: expected 1 to 2^31, found {}", side.name,
           side.value);
    }
  }
  if (c.heads % c.kv_heads != 0) {
    fail(ErrorCode::kCorruptFile, where,
         "{} attention heads cannot share {} key-value heads evenly", c.heads, c.kv_heads);
  }
  if (std::ranges::any_of(c.layer_configs, &LayerConfig::experts)) {
    if (c.experts <= 0 || c.experts > kMostExperts || c.experts_per_token <= 0 ||
        c.experts_per_token > c.experts) {
      fail(ErrorCode::kCorruptFile, where,
           "expected 1 to {} experts, of which a token has 1 or more, found {} of {}", kMostExperts,
           c.experts_per_token, c.experts);
    }
    if (c.expert_intermediate <= 0 || c.expert_intermediate > int64_t{1} << 31) {
      fail(ErrorCode::kCorruptFile, where,
           "intermediate size of experts: expected 1 to 2^31, found {}", c.expert_intermediate);
    }
  }
  if (c.table_width() <= 0 || c.table_width() > int64_t{1} << 31) {
    fail(ErrorCode::kCorruptFile, where, "width of the token table: expected 1 to 2^31, found {}",
         c.table_width());
  }
  if (!(c.attention_scale > 0) || !(c.attention_softcap >= 0) || !(c.logit_softcap >= 0) ||
      !std::isfinite(c.logit_scale)) {
    fail(ErrorCode::kCorruptFile, where,
         "expected a positive attention scale, soft caps of 0 or more and a finite logit scale, "
         "found {}, {} and {}, {}",
         c.attention_scale, c.attention_softcap, c.logit_softcap, c.logit_scale);
  }
  if (c.position == PositionKind::kRope) {
    check_rope(c.rope, c, where, "");
    if (c.local_rope) check_rope(*c.local_rope, c, where, "of layers with a window: ");
  }
  if (!(c.norm_eps >= 0)) {
    fail(ErrorCode::kCorruptFile, where, "norm epsilon: expected 0 or more, found {}", c.norm_eps);
  }
}

}  // namespace twofold

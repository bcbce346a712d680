#include "model/gguf_fields.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "model/config.h"
#include "model/rope_factors.h"

namespace twofold {
namespace {

/// Keys of these groups change what is computed, known or not.
constexpr std::array<std::string_view, 3> kGroups = {"attention.", "rope.", "expert"};

/// Keys outside of the groups that do as well.
constexpr std::array<std::string_view, 14> kChanging = {
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "router_logit_softcapping",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "use_parallel_residual",
    "nextn_predict_layers",
    "leading_dense_block_count",
    "moe_every_n_layers",
    "interleave_moe_layer_step",
    "embedding_length_per_layer_input",
    "full_attention_interval",
    "swin_norm",
};

/// Keys of the groups that say nothing about the result, or nothing that tensors do not show.
constexpr std::array<std::string_view, 4> kHarmless = {
    "attention.layer_norm_epsilon",      // of the kind of norm that the family does not have
    "attention.layer_norm_rms_epsilon",  // likewise
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",  // of a scaling that the file does not have
};

/// Values, apart from 0, that say what is done anyway.
struct Neutral {
  std::string_view key;
  double value;
};
constexpr std::array kNeutral = {
    Neutral{"attention.causal", 1},         Neutral{"logit_scale", 1},
    Neutral{"residual_scale", 1},           Neutral{"embedding_scale", 1},
    Neutral{"rope.scaling.attn_factor", 1}, Neutral{"rope.scaling.factor", 1},
    Neutral{"rope.scale_linear", 1},
};

template <class List>
bool contains(const List& list, std::string_view text) {
  return std::ranges::find(list, text) != list.end();
}

std::string text_of(const GgufValue& value) {
  const auto text = [](const auto& x) -> std::string {
    using T = std::decay_t<decltype(x)>;
    if constexpr (std::is_same_v<T, std::string>) {
      // As JSON, so that whatever the file has stays on one line.
      return nlohmann::json(x).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    } else if constexpr (std::is_arithmetic_v<T>) {
      return fmt::format("{}", x);
    } else {
      return fmt::format("a list of {}", x.size());
    }
  };
  const std::string whole = std::visit(text, value);
  return whole.size() > 60 ? whole.substr(0, 60) + "..." : whole;
}

/// The number that a value is, or nothing if it is text or a list.
std::optional<double> number_of(const GgufValue& value) {
  return std::visit(
      [](const auto& x) -> std::optional<double> {
        if constexpr (std::is_arithmetic_v<std::decay_t<decltype(x)>>) {
          return static_cast<double>(x);
        } else {
          return std::nullopt;
        }
      },
      value);
}

bool is_neutral(std::string_view key, const GgufValue& value) {
  const std::optional<double> number = number_of(value);
  if (!number) return false;
  if (std::ranges::any_of(
          kNeutral, [&](const Neutral& row) { return row.key == key && row.value == *number; })) {
    return true;
  }
  return *number == 0 && key != "attention.causal" && key != "use_parallel_residual";
}

/// The shortest decimal that rounds to the same number of single precision.
double shortest_decimal(double value) {
  const float single = static_cast<float>(value);
  if (double{single} != value) return value;
  std::array<char, 64> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), single).ptr;
  double decimal = value;
  std::from_chars(text.data(), end, decimal);
  return decimal;
}

}  // namespace

GgufFields::GgufFields(const GgufFile& file)
    : file_(file), prefix_(file.get_string("general.architecture") + ".") {}

std::string GgufFields::full(std::string_view key) const { return prefix_ + std::string(key); }

std::string GgufFields::read(std::string_view key) {
  read_keys_.emplace(key);
  return full(key);
}

bool GgufFields::has(std::string_view key) const { return file_.has(full(key)); }

bool GgufFields::is_list(std::string_view key) const {
  const auto found = file_.metadata.find(full(key));
  return found != file_.metadata.end() &&
         std::visit(
             [](const auto& x) {
               return !std::is_arithmetic_v<std::decay_t<decltype(x)>> &&
                      !std::is_same_v<std::decay_t<decltype(x)>, std::string>;
             },
             found->second);
}

int64_t GgufFields::get_int(std::string_view key, std::optional<int64_t> fallback) {
  const std::string name = read(key);
  if (fallback && !file_.has(name)) return *fallback;
  const int64_t value = file_.get_int(name);
  if (value < 0 || value >= int64_t{1} << 40) corrupt(key, "an integer from 0 to 2^40");
  return value;
}

double GgufFields::get_float(std::string_view key, std::optional<double> fallback) {
  const std::string name = read(key);
  if (fallback && !file_.has(name)) return *fallback;
  const double value = file_.get_float(name);
  if (!std::isfinite(value)) corrupt(key, "a finite number");
  return shortest_decimal(value);
}

bool GgufFields::get_bool(std::string_view key, bool fallback) {
  return file_.get_bool(read(key), fallback);
}

std::string GgufFields::get_string(std::string_view key, std::string_view fallback) {
  return file_.get_string(read(key), fallback);
}

std::vector<int64_t> GgufFields::get_ints(std::string_view key) {
  return file_.get_ints(read(key));
}

const StoredTensor* GgufFields::find_tensor(std::string_view name) {
  const auto found = std::ranges::find(file_.tensors, name, &StoredTensor::name);
  if (found == file_.tensors.end()) return nullptr;
  read_tensors_.emplace(name);
  return &*found;
}

std::vector<double> GgufFields::get_vector(std::string_view name, int64_t count) {
  const StoredTensor* tensor = find_tensor(name);
  const std::string at = fmt::format("{}: {}", where(), name);
  if (tensor == nullptr) fail(ErrorCode::kCorruptFile, at, "expected F32 [{}], found none", count);
  if (tensor->shape != Shape{count} || tensor->type->dtype != DType::kF32) {
    fail(ErrorCode::kCorruptFile, at, "expected F32 [{}], found {} {}", count, tensor->type->name,
         shape_text(tensor->shape));
  }
  std::vector<float> values(static_cast<size_t>(count));
  tensor->decode(0, count, values.data());
  std::vector<double> decimals;
  for (const float value : values) decimals.push_back(shortest_decimal(double{value}));
  return decimals;
}

void GgufFields::refuse(std::string_view key, std::string_view why) const {
  const auto found = file_.metadata.find(full(key));
  fail(ErrorCode::kUnsupported, where(), "{} = {} is not supported ({})", full(key),
       found == file_.metadata.end() ? "nothing" : text_of(found->second), why);
}

void GgufFields::corrupt(std::string_view key, std::string_view expected) const {
  const auto found = file_.metadata.find(full(key));
  fail(ErrorCode::kCorruptFile, where(), "{}: expected {}, found {}", full(key), expected,
       found == file_.metadata.end() ? "nothing" : text_of(found->second));
}

void GgufFields::refuse_unread() const {
  for (const auto& [name, value] : file_.metadata) {
    if (!name.starts_with(prefix_)) continue;
    const std::string_view key = std::string_view(name).substr(prefix_.size());
    const bool changing =
        contains(kChanging, key) || std::ranges::any_of(kGroups, [&](std::string_view group) {
          return key.starts_with(group);
        });
    if (!changing || contains(read_keys_, key) || contains(kHarmless, key)) continue;
    if (!is_neutral(key, value)) refuse(key, "models of this family are read without it");
  }
}

void add_fields(nlohmann::json& config, GgufFields& g, std::span<const GgufField> fields) {
  for (const GgufField& field : fields) {
    const std::string name(field.name);
    switch (field.type) {
      case GgufType::kInt:
        config[name] = g.get_int(
            field.key, field.fallback ? std::optional<int64_t>(*field.fallback) : std::nullopt);
        break;
      case GgufType::kFloat:
        config[name] = g.get_float(field.key, field.fallback);
        break;
      case GgufType::kBool:
        config[name] = g.get_bool(field.key, field.fallback.value_or(0) != 0);
        break;
    }
  }
}

namespace {

constexpr std::array kLlamaFields = {
    GgufField{"hidden_size", "embedding_length"},
    GgufField{"num_hidden_layers", "block_count"},
    GgufField{"num_attention_heads", "attention.head_count"},
    GgufField{"intermediate_size", "feed_forward_length"},
    GgufField{"max_position_embeddings", "context_length"},
    GgufField{"rms_norm_eps", "attention.layer_norm_rms_epsilon", GgufType::kFloat},
};

int64_t get_head_dim(GgufFields& g, int64_t hidden, int64_t heads) {
  if (heads <= 0) g.corrupt("attention.head_count", "1 or more");
  const int64_t head_dim = g.get_int("attention.key_length", hidden / heads);
  if (head_dim <= 0) g.corrupt("attention.key_length", "1 or more");
  if (g.get_int("attention.value_length", head_dim) != head_dim) {
    g.refuse("attention.value_length", fmt::format("keys have {} numbers", head_dim));
  }
  return head_dim;
}

}  // namespace

nlohmann::json llama_like_config(GgufFields& g, std::string_view model_type,
                                 std::string_view architecture) {
  nlohmann::json config = {{"model_type", model_type}, {"architectures", {architecture}}};
  add_fields(config, g, kLlamaFields);
  const int64_t heads = config["num_attention_heads"];
  const int64_t head_dim = get_head_dim(g, config["hidden_size"], heads);
  const int64_t dims = rope_dims(g, head_dim);
  config["head_dim"] = head_dim;
  config["num_key_value_heads"] = g.get_int("attention.head_count_kv", heads);
  config["hidden_act"] = "silu";
  config["rope_theta"] = rope_base(g);
  if (dims != head_dim) config["partial_rotary_factor"] = rope_share(dims, head_dim);
  return config;
}

double rope_base(GgufFields& g) {
  const double base = g.get_float("rope.freq_base", 10000);
  if (!(base > 0)) g.corrupt("rope.freq_base", "a positive number");
  return base;
}

int64_t rope_dims(GgufFields& g, int64_t head_dim) {
  const int64_t dims = g.get_int("rope.dimension_count", head_dim);
  if (dims <= 0 || dims > head_dim) {
    g.corrupt("rope.dimension_count", fmt::format("1 to the {} of a head", head_dim));
  }
  return dims;
}

double rope_share(int64_t dims, int64_t head_dim) {
  const auto width = static_cast<double>(head_dim);
  double share = static_cast<double>(dims) / width;
  while (static_cast<int64_t>(share * width) < dims) share = std::nextafter(share, 2.0);
  return share;
}

namespace {

/// True if the divisors of `rope` are `factors`, to the precision they are stored in.
bool gives_factors(const RopeConfig& rope, const std::vector<double>& factors) {
  RopeConfig plain = rope;
  plain.scaling = RopeScaling::kNone;
  const std::vector<float> unscaled = rope_frequencies(plain), scaled = rope_frequencies(rope);
  for (size_t i = 0; i < factors.size(); ++i) {
    const double divisor = double{unscaled[i]} / double{scaled[i]};
    if (!(std::abs(divisor - factors[i]) <= 1e-4 * factors[i])) return false;
  }
  return true;
}

/// Llama 3's rope scaling reaches GGUF files only as a tensor of divisors, one per frequency. The
/// published models use low 1 and high 4; the original context is found as the power of two that
/// gives the tensor.
nlohmann::json scaling_of_divisors(GgufFields& g, std::string_view tensor, int64_t dims) {
  const std::vector<double> factors = g.get_vector(tensor, dims / 2);
  RopeConfig rope;
  rope.theta = rope_base(g);
  rope.dims = dims;
  rope.scaling = RopeScaling::kLlama3;
  for (const double factor : factors) rope.factor = std::max(rope.factor, factor);
  for (rope.original_context = 16; rope.original_context <= 1 << 22; rope.original_context *= 2) {
    if (!gives_factors(rope, factors)) continue;
    return {{"rope_type", "llama3"},
            {"factor", rope.factor},
            {"low_freq_factor", rope.low_freq_factor},
            {"high_freq_factor", rope.high_freq_factor},
            {"original_max_position_embeddings", rope.original_context}};
  }
  fail(ErrorCode::kUnsupported, fmt::format("{}: {}", g.where(), tensor),
       "divisors of no known rope scaling (tried llama3)");
}

/// llama.cpp multiplies the attention factor of YaRN by what these say; whether a file means that
/// or the whole factor is up to its converter.
void refuse_yarn_factors(GgufFields& g) {
  for (const char* key : {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor",
                          "rope.scaling.yarn_ext_factor", "rope.scaling.yarn_log_multiplier"}) {
    const double neutral = key == std::string_view("rope.scaling.yarn_log_multiplier") ? 0 : 1;
    if (g.get_float(key, neutral) != neutral) g.refuse(key, "a factor beside those of yarn");
  }
}

}  // namespace

nlohmann::json rope_scaling(GgufFields& g, int64_t dims) {
  constexpr std::string_view kType = "rope.scaling.type", kDivisors = "rope_freqs.weight";
  const double factor = g.get_float("rope.scaling.factor", g.get_float("rope.scale_linear", 0));
  if (factor < 0) g.corrupt("rope.scaling.factor", "0 or more");
  const std::string type = g.get_string(kType, "linear");
  constexpr std::array<std::string_view, 3> kKnown = {"none", "linear", "yarn"};
  if (std::ranges::find(kKnown, type) == kKnown.end()) {
    g.refuse(kType, fmt::format("known: {}", fmt::join(kKnown, ", ")));
  }
  if (g.has_tensor(kDivisors)) {
    if (type == "yarn" || (type == "linear" && factor > 0 && factor != 1)) {
      g.refuse(kType, fmt::format("not together with {}", kDivisors));
    }
    return scaling_of_divisors(g, kDivisors, dims);
  }
  if (type == "yarn") {
    if (factor == 0) g.corrupt("rope.scaling.factor", "a positive number");
    refuse_yarn_factors(g);
    nlohmann::json scaling = {
        {"rope_type", "yarn"},
        {"factor", factor},
        {"original_max_position_embeddings",
         g.get_int("rope.scaling.original_context_length", g.get_int("context_length"))}};
    for (const char* beta : {"beta_fast", "beta_slow"}) {
      const std::string key = fmt::format("rope.scaling.yarn_{}", beta);
      if (g.has(key)) scaling[beta] = g.get_float(key);
    }
    return scaling;
  }
  if (type == "linear" && factor > 0) return {{"rope_type", "linear"}, {"factor", factor}};
  return nullptr;
}

void add_rope_scaling(nlohmann::json& config, GgufFields& g) {
  nlohmann::json scaling = rope_scaling(g, rope_dims(g, config["head_dim"]));
  if (!scaling.is_null()) config["rope_scaling"] = std::move(scaling);
}

void require_ungrouped_heads(GgufFields& g) {
  const int64_t heads = g.get_int("attention.head_count");
  if (g.get_int("attention.head_count_kv", heads) != heads) {
    g.refuse("attention.head_count_kv", fmt::format("{} heads have keys of their own", heads));
  }
}

void add_experts(nlohmann::json& config, GgufFields& g, std::string_view count_name) {
  config[std::string(count_name)] = g.get_int("expert_count");
  config["num_experts_per_tok"] = g.get_int("expert_used_count");
  if (!g.get_bool("expert_weights_norm", true)) {
    g.refuse("expert_weights_norm", "weights of a token's experts are scaled to sum to 1");
  }
  constexpr int64_t kSoftmax = 1;  // llama.cpp's number; 0 is that of the architecture
  if (g.get_int("expert_gating_func", 0) > kSoftmax) {
    g.refuse("expert_gating_func", "known: 1, softmax");
  }
}

nlohmann::json gemma_like_config(GgufFields& g, std::string_view model_type,
                                 std::string_view architecture, int64_t layers_of_27b) {
  nlohmann::json config = llama_like_config(g, model_type, architecture);
  add_rope_scaling(config, g);
  config["hidden_act"] = config["hidden_activation"] = "gelu_pytorch_tanh";
  config["attention_bias"] = g.has_tensor("blk.0.attn_q.bias");
  const int64_t hidden = config["hidden_size"], heads = config["num_attention_heads"];
  const bool largest = config["num_hidden_layers"] == layers_of_27b;
  config["query_pre_attn_scalar"] =
      largest ? hidden / heads : static_cast<int64_t>(config["head_dim"]);
  return config;
}

nlohmann::json get_softcap(GgufFields& g, std::string_view key, double fallback) {
  const double cap = g.get_float(key, fallback);
  return cap != 0 ? nlohmann::json(cap) : nullptr;
}

void add_windows(nlohmann::json& config, GgufFields& g, int64_t window, int64_t period) {
  constexpr std::string_view kPattern = "attention.sliding_window_pattern";
  const int64_t layers = g.get_int("block_count");
  std::vector<int64_t> slides;
  if (g.is_list(kPattern)) {
    slides = g.get_ints(kPattern);
    if (std::ssize(slides) != layers) {
      g.corrupt(kPattern, fmt::format("one for each of {} layers", layers));
    }
  } else {
    period = g.get_int(kPattern, period);
    if (period == 0) g.corrupt(kPattern, "1 or more");
  }
  nlohmann::json types = nlohmann::json::array();
  for (int64_t i = 0; i < layers; ++i) {
    const bool sliding =
        slides.empty() ? (i + 1) % period != 0 : slides[static_cast<size_t>(i)] != 0;
    types.push_back(sliding && window > 0 ? "sliding_attention" : "full_attention");
  }
  config["layer_types"] = std::move(types);
  if (window > 0) config["sliding_window"] = window;
}

}  // namespace twofold

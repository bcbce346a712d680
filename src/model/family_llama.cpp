// Llama, and the many models with its configuration (SmolLM2, TinyLlama, llama2.c's stories).
#include <cmath>
#include <numbers>

#include "model/families.h"
#include "model/json_fields.h"
#include "model/rope_factors.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "llama");
  c.rope = parse_rope(f, c.head_dim, c.context);
  c.attention_bias = c.attention_out_bias = f.get_bool("attention_bias", false);
  c.mlp_bias = f.get_bool("mlp_bias", false);
  return c;
}

/// True if the divisors of `rope` are `factors`, to the precision they are stored in.
bool gives_factors(const RopeConfig& rope, const std::vector<float>& factors) {
  RopeConfig plain = rope;
  plain.scaling = RopeScaling::kNone;
  const std::vector<float> unscaled = rope_frequencies(plain), scaled = rope_frequencies(rope);
  for (size_t i = 0; i < factors.size(); ++i) {
    if (!(std::abs(unscaled[i] / scaled[i] - factors[i]) <= 1e-4f * factors[i])) return false;
  }
  return true;
}

/// Llama 3's rope scaling reaches GGUF files only as a tensor of divisors, one per frequency. The
/// published models use low 1 and high 4; the original context is found as the power of two that
/// gives the tensor.
nlohmann::json rope_scaling_of_factors(const GgufFile& g, const StoredTensor& tensor, double theta,
                                       int64_t dims) {
  const std::string where = g.path + ": rope_freqs.weight";
  if (tensor.shape != Shape{dims / 2} || tensor.type->dtype != DType::kF32) {
    fail(ErrorCode::kCorruptFile, where, "expected F32 [{}], found {} {}", dims / 2,
         tensor.type->name, shape_text(tensor.shape));
  }
  std::vector<float> factors(static_cast<size_t>(dims / 2));
  tensor.decode(0, dims / 2, factors.data());
  RopeConfig rope;
  rope.theta = theta;
  rope.dims = dims;
  rope.scaling = RopeScaling::kLlama3;
  for (const float factor : factors) rope.factor = std::max(rope.factor, double{factor});
  for (rope.original_context = 16; rope.original_context <= 1 << 22; rope.original_context *= 2) {
    if (!gives_factors(rope, factors)) continue;
    return {{"rope_type", "llama3"},
            {"factor", rope.factor},
            {"low_freq_factor", rope.low_freq_factor},
            {"high_freq_factor", rope.high_freq_factor},
            {"original_max_position_embeddings", rope.original_context}};
  }
  fail(ErrorCode::kUnsupported, where, "divisors of no known rope scaling (tried llama3)");
}

nlohmann::json from_gguf(const GgufFile& g) {
  if (g.get_int("llama.expert_count", 0) > 0) {
    fail(ErrorCode::kUnsupported, g.path,
         "llama.expert_count = {} is not supported (mixtures of experts)",
         g.get_int("llama.expert_count"));
  }
  std::map<std::string_view, const StoredTensor*> tensors;
  for (const StoredTensor& tensor : g.tensors) tensors[tensor.name] = &tensor;
  const int64_t hidden = g.get_int("llama.embedding_length");
  const int64_t heads = g.get_int("llama.attention.head_count");
  if (heads <= 0) fail(ErrorCode::kCorruptFile, g.path, "llama.attention.head_count is {}", heads);
  const int64_t head_dim = g.get_int("llama.attention.key_length", hidden / heads);
  const int64_t dims = g.get_int("llama.rope.dimension_count", head_dim);
  const double theta = g.get_float("llama.rope.freq_base", 10000);
  nlohmann::json config = {
      {"model_type", "llama"},
      {"architectures", {"LlamaForCausalLM"}},
      {"hidden_size", hidden},
      {"num_hidden_layers", g.get_int("llama.block_count")},
      {"num_attention_heads", heads},
      {"num_key_value_heads", g.get_int("llama.attention.head_count_kv", heads)},
      {"head_dim", head_dim},
      {"intermediate_size", g.get_int("llama.feed_forward_length")},
      {"max_position_embeddings", g.get_int("llama.context_length")},
      {"rms_norm_eps", g.get_float("llama.attention.layer_norm_rms_epsilon")},
      {"rope_theta", theta},
      {"hidden_act", "silu"},
      {"attention_bias", tensors.contains("blk.0.attn_q.bias")},
      {"mlp_bias", tensors.contains("blk.0.ffn_up.bias")},
  };
  if (dims != head_dim && head_dim > 0) {
    config["partial_rotary_factor"] = static_cast<double>(dims) / static_cast<double>(head_dim);
  }
  const std::string scaling = g.get_string("llama.rope.scaling.type", "none");
  if (scaling == "linear") {
    config["rope_scaling"] = {{"rope_type", "linear"},
                              {"factor", g.get_float("llama.rope.scaling.factor")}};
  } else if (scaling != "none") {
    fail(ErrorCode::kUnsupported, g.path,
         "llama.rope.scaling.type = {} is not supported (known: none, linear)", scaling);
  }
  if (const auto it = tensors.find("rope_freqs.weight"); it != tensors.end()) {
    config["rope_scaling"] = rope_scaling_of_factors(g, *it->second, theta, dims);
  }
  return config;
}

}  // namespace

const Family kLlamaFamily = {
    .name = "llama",
    .architectures = {"LlamaForCausalLM"},
    .model_types = {"llama"},
    .gguf_names = {"llama"},
    .optional_prefix = "model.",
    .rules = kLlamaRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = true,
};

}  // namespace twofold

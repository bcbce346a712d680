// Llama, and the many models with its configuration (SmolLM2, TinyLlama, llama2.c's stories).
#include <array>
#include <cmath>
#include <numbers>

#include "model/families.h"
#include "model/json_fields.h"
#include "model/rope_factors.h"

namespace twofold {
namespace {

constexpr std::array kRules = {
    TensorRule{"embed", "model.embed_tokens.weight", "token_embd.weight", Role::kEmbedding,
               Side::kVocab, Side::kHidden, ""},
    TensorRule{"layers.{i}.attn_norm", "model.layers.{i}.input_layernorm.weight",
               "blk.{i}.attn_norm.weight", Role::kNorm, Side::kHidden, Side::kNone, ""},
    TensorRule{"layers.{i}.attn.q", "model.layers.{i}.self_attn.q_proj.weight",
               "blk.{i}.attn_q.weight", Role::kAttentionIn, Side::kQ, Side::kHidden,
               "layers.{i}.attn.in", When::kAlways, true, true},
    TensorRule{"layers.{i}.attn.k", "model.layers.{i}.self_attn.k_proj.weight",
               "blk.{i}.attn_k.weight", Role::kAttentionIn, Side::kKv, Side::kHidden,
               "layers.{i}.attn.in", When::kAlways, true, true},
    TensorRule{"layers.{i}.attn.v", "model.layers.{i}.self_attn.v_proj.weight",
               "blk.{i}.attn_v.weight", Role::kAttentionIn, Side::kKv, Side::kHidden,
               "layers.{i}.attn.in", When::kAlways, true},
    TensorRule{"layers.{i}.attn.q.bias", "model.layers.{i}.self_attn.q_proj.bias",
               "blk.{i}.attn_q.bias", Role::kBias, Side::kQ, Side::kNone, "", When::kAttentionBias,
               false, true},
    TensorRule{"layers.{i}.attn.k.bias", "model.layers.{i}.self_attn.k_proj.bias",
               "blk.{i}.attn_k.bias", Role::kBias, Side::kKv, Side::kNone, "", When::kAttentionBias,
               false, true},
    TensorRule{"layers.{i}.attn.v.bias", "model.layers.{i}.self_attn.v_proj.bias",
               "blk.{i}.attn_v.bias", Role::kBias, Side::kKv, Side::kNone, "",
               When::kAttentionBias},
    TensorRule{"layers.{i}.attn.out", "model.layers.{i}.self_attn.o_proj.weight",
               "blk.{i}.attn_output.weight", Role::kAttentionOut, Side::kHidden, Side::kQ,
               "layers.{i}.attn.out", When::kAlways, true},
    TensorRule{"layers.{i}.attn.out.bias", "model.layers.{i}.self_attn.o_proj.bias",
               "blk.{i}.attn_output.bias", Role::kBias, Side::kHidden, Side::kNone, "",
               When::kAttentionOutBias},
    TensorRule{"layers.{i}.mlp_norm", "model.layers.{i}.post_attention_layernorm.weight",
               "blk.{i}.ffn_norm.weight", Role::kNorm, Side::kHidden, Side::kNone, ""},
    TensorRule{"layers.{i}.mlp.gate", "model.layers.{i}.mlp.gate_proj.weight",
               "blk.{i}.ffn_gate.weight", Role::kMlpIn, Side::kIntermediate, Side::kHidden,
               "layers.{i}.mlp.in", When::kAlways, true},
    TensorRule{"layers.{i}.mlp.up", "model.layers.{i}.mlp.up_proj.weight", "blk.{i}.ffn_up.weight",
               Role::kMlpIn, Side::kIntermediate, Side::kHidden, "layers.{i}.mlp.in", When::kAlways,
               true},
    TensorRule{"layers.{i}.mlp.gate.bias", "model.layers.{i}.mlp.gate_proj.bias",
               "blk.{i}.ffn_gate.bias", Role::kBias, Side::kIntermediate, Side::kNone, "",
               When::kMlpBias},
    TensorRule{"layers.{i}.mlp.up.bias", "model.layers.{i}.mlp.up_proj.bias", "blk.{i}.ffn_up.bias",
               Role::kBias, Side::kIntermediate, Side::kNone, "", When::kMlpBias},
    TensorRule{"layers.{i}.mlp.down", "model.layers.{i}.mlp.down_proj.weight",
               "blk.{i}.ffn_down.weight", Role::kMlpOut, Side::kHidden, Side::kIntermediate,
               "layers.{i}.mlp.mid", When::kAlways, true},
    TensorRule{"layers.{i}.mlp.down.bias", "model.layers.{i}.mlp.down_proj.bias",
               "blk.{i}.ffn_down.bias", Role::kBias, Side::kHidden, Side::kNone, "",
               When::kMlpBias},
    TensorRule{"final_norm", "model.norm.weight", "output_norm.weight", Role::kNorm, Side::kHidden,
               Side::kNone, ""},
    TensorRule{"head", "lm_head.weight", "output.weight", Role::kHead, Side::kVocab, Side::kHidden,
               "", When::kUntied},
};

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c;
  c.family = "llama";
  c.vocab_size = f.get_int("vocab_size");
  c.hidden = f.get_int("hidden_size");
  c.layers = f.get_int("num_hidden_layers");
  c.heads = f.get_int("num_attention_heads");
  c.kv_heads = f.get_int("num_key_value_heads", c.heads);
  c.head_dim = f.get_int("head_dim", c.heads > 0 ? c.hidden / c.heads : 0);
  c.intermediate = f.get_int("intermediate_size");
  c.context = f.get_int("max_position_embeddings", 2048);
  c.norm = NormKind::kRmsNorm;
  c.norm_eps = f.get_float("rms_norm_eps", 1e-6);
  c.activation = parse_activation(f, "hidden_act", "silu");
  c.gated_mlp = true;
  c.position = PositionKind::kRope;
  c.rope = parse_rope(f, 10000, c.context);
  const double partial = f.get_float("partial_rotary_factor", 1);
  c.rope.dims = static_cast<int64_t>(static_cast<double>(c.head_dim) * partial);
  c.attention_scale = c.head_dim > 0 ? 1 / std::sqrt(static_cast<double>(c.head_dim)) : 1;
  c.tied_head = f.get_bool("tie_word_embeddings", false);
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
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = true,
};

}  // namespace twofold

// GPT-2, as in the transformers library, and nanoGPT's models, which add two fields of their own:
// "bias": false (no biases anywhere) and "transposed_linear": false (linears stored [out, in]).
#include <array>

#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"

namespace twofold {
namespace {

constexpr std::array kRules = {
    TensorRule{"embed", "transformer.wte.weight", "token_embd.weight", Role::kEmbedding,
               Side::kVocab, Side::kHidden, ""},
    TensorRule{"position", "transformer.wpe.weight", "position_embd.weight", Role::kPosition,
               Side::kPosition, Side::kHidden, ""},
    TensorRule{"layers.{i}.attn_norm", "transformer.h.{i}.ln_1.weight", "blk.{i}.attn_norm.weight",
               Role::kNorm, Side::kHidden, Side::kNone, ""},
    TensorRule{"layers.{i}.attn_norm.bias", "transformer.h.{i}.ln_1.bias", "blk.{i}.attn_norm.bias",
               Role::kNorm, Side::kHidden, Side::kNone, "", When::kNormBias},
    TensorRule{"layers.{i}.attn.qkv", "transformer.h.{i}.attn.c_attn.weight",
               "blk.{i}.attn_qkv.weight", Role::kAttentionIn, Side::kQkv, Side::kHidden,
               "layers.{i}.attn.in", When::kAlways, true},
    TensorRule{"layers.{i}.attn.qkv.bias", "transformer.h.{i}.attn.c_attn.bias",
               "blk.{i}.attn_qkv.bias", Role::kBias, Side::kQkv, Side::kNone, "",
               When::kAttentionBias},
    TensorRule{"layers.{i}.attn.out", "transformer.h.{i}.attn.c_proj.weight",
               "blk.{i}.attn_output.weight", Role::kAttentionOut, Side::kHidden, Side::kQ,
               "layers.{i}.attn.out", When::kAlways, true},
    TensorRule{"layers.{i}.attn.out.bias", "transformer.h.{i}.attn.c_proj.bias",
               "blk.{i}.attn_output.bias", Role::kBias, Side::kHidden, Side::kNone, "",
               When::kAttentionOutBias},
    TensorRule{"layers.{i}.mlp_norm", "transformer.h.{i}.ln_2.weight", "blk.{i}.ffn_norm.weight",
               Role::kNorm, Side::kHidden, Side::kNone, ""},
    TensorRule{"layers.{i}.mlp_norm.bias", "transformer.h.{i}.ln_2.bias", "blk.{i}.ffn_norm.bias",
               Role::kNorm, Side::kHidden, Side::kNone, "", When::kNormBias},
    TensorRule{"layers.{i}.mlp.up", "transformer.h.{i}.mlp.c_fc.weight", "blk.{i}.ffn_up.weight",
               Role::kMlpIn, Side::kIntermediate, Side::kHidden, "layers.{i}.mlp.in", When::kAlways,
               true},
    TensorRule{"layers.{i}.mlp.up.bias", "transformer.h.{i}.mlp.c_fc.bias", "blk.{i}.ffn_up.bias",
               Role::kBias, Side::kIntermediate, Side::kNone, "", When::kMlpBias},
    TensorRule{"layers.{i}.mlp.down", "transformer.h.{i}.mlp.c_proj.weight",
               "blk.{i}.ffn_down.weight", Role::kMlpOut, Side::kHidden, Side::kIntermediate,
               "layers.{i}.mlp.mid", When::kAlways, true},
    TensorRule{"layers.{i}.mlp.down.bias", "transformer.h.{i}.mlp.c_proj.bias",
               "blk.{i}.ffn_down.bias", Role::kBias, Side::kHidden, Side::kNone, "",
               When::kMlpBias},
    TensorRule{"final_norm", "transformer.ln_f.weight", "output_norm.weight", Role::kNorm,
               Side::kHidden, Side::kNone, ""},
    TensorRule{"final_norm.bias", "transformer.ln_f.bias", "output_norm.bias", Role::kNorm,
               Side::kHidden, Side::kNone, "", When::kNormBias},
    TensorRule{"head", "lm_head.weight", "output.weight", Role::kHead, Side::kVocab, Side::kHidden,
               "", When::kUntied},
};

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  if (f.get_bool("add_cross_attention", false)) {
    f.refuse("add_cross_attention", "this program runs decoders only");
  }
  ModelConfig c;
  c.family = "gpt2";
  c.vocab_size = f.get_int("vocab_size");
  c.hidden = f.get_int("n_embd");
  c.layers = f.get_int("n_layer");
  c.heads = c.kv_heads = f.get_int("n_head");
  c.context = f.has("n_positions") ? f.get_int("n_positions") : f.get_int("n_ctx");
  c.intermediate = f.get_int("n_inner", 4 * c.hidden);
  split_heads(c);
  if (c.heads > 0 && c.hidden % c.heads != 0) {
    fail(ErrorCode::kCorruptFile, where, "n_embd = {} is no multiple of n_head = {}", c.hidden,
         c.heads);
  }
  c.norm = NormKind::kLayerNorm;
  c.norm_eps = f.get_float("layer_norm_epsilon", 1e-5);
  c.activation = parse_activation(f, "activation_function", "gelu_new");
  c.gated_mlp = false;
  c.position = PositionKind::kLearned;
  if (!f.get_bool("scale_attn_weights", true)) c.attention_scale = 1;
  c.attention_scale_by_layer = f.get_bool("scale_attn_by_inverse_layer_idx", false);
  c.tied_head = f.get_bool("tie_word_embeddings", true);
  const bool bias = f.get_bool("bias", true);
  c.attention_bias = c.attention_out_bias = c.mlp_bias = c.norm_bias = bias;
  c.transposed_linear = f.get_bool("transposed_linear", true);
  return c;
}

constexpr std::array kGgufFields = {
    GgufField{"n_embd", "embedding_length"},
    GgufField{"n_layer", "block_count"},
    GgufField{"n_head", "attention.head_count"},
    GgufField{"n_positions", "context_length"},
    GgufField{"layer_norm_epsilon", "attention.layer_norm_epsilon", GgufType::kFloat},
};

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = {{"model_type", "gpt2"},
                           {"architectures", {"GPT2LMHeadModel"}},
                           {"activation_function", "gelu_new"}};
  add_fields(config, g, kGgufFields);
  config["n_inner"] = g.get_int("feed_forward_length", 4 * g.get_int("embedding_length"));
  require_ungrouped_heads(g);
  return config;
}

}  // namespace

const Family kGpt2Family = {
    .name = "gpt2",
    .architectures = {"GPT2LMHeadModel"},
    .model_types = {"gpt2"},
    .gguf_names = {"gpt2"},
    .optional_prefix = "transformer.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

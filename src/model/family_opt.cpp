// OPT, also the 350M kind: norms after the residual sum, and a token table that is narrower than
// the hidden size. No GGUF file has this family.
#include "model/families.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

constexpr std::array kRules = {
    TensorRule{"embed", "model.decoder.embed_tokens.weight", "", Role::kEmbedding, Side::kVocab,
               Side::kTable, ""},
    TensorRule{"position", "model.decoder.embed_positions.weight", "", Role::kPosition,
               Side::kPosition, Side::kHidden, ""},
    TensorRule{"project_in", "model.decoder.project_in.weight", "", Role::kProjection,
               Side::kHidden, Side::kTable, "", When::kProjection},
    vector_rule("layers.{i}.attn_norm", "model.decoder.layers.{i}.self_attn_layer_norm.weight", "",
                Role::kNorm, Side::kHidden, When::kNormWeight),
    vector_rule("layers.{i}.attn_norm.bias", "model.decoder.layers.{i}.self_attn_layer_norm.bias",
                "", Role::kNorm, Side::kHidden, When::kNormBias),
    linear_rule("layers.{i}.attn.q", "model.decoder.layers.{i}.self_attn.q_proj.weight", "",
                Role::kAttentionIn, Side::kQ, Side::kHidden, "layers.{i}.attn.in"),
    linear_rule("layers.{i}.attn.k", "model.decoder.layers.{i}.self_attn.k_proj.weight", "",
                Role::kAttentionIn, Side::kKv, Side::kHidden, "layers.{i}.attn.in"),
    linear_rule("layers.{i}.attn.v", "model.decoder.layers.{i}.self_attn.v_proj.weight", "",
                Role::kAttentionIn, Side::kKv, Side::kHidden, "layers.{i}.attn.in"),
    vector_rule("layers.{i}.attn.q.bias", "model.decoder.layers.{i}.self_attn.q_proj.bias", "",
                Role::kBias, Side::kQ, When::kAttentionBias),
    vector_rule("layers.{i}.attn.k.bias", "model.decoder.layers.{i}.self_attn.k_proj.bias", "",
                Role::kBias, Side::kKv, When::kAttentionBias),
    vector_rule("layers.{i}.attn.v.bias", "model.decoder.layers.{i}.self_attn.v_proj.bias", "",
                Role::kBias, Side::kKv, When::kAttentionBias),
    linear_rule("layers.{i}.attn.out", "model.decoder.layers.{i}.self_attn.out_proj.weight", "",
                Role::kAttentionOut, Side::kHidden, Side::kQ, "layers.{i}.attn.out"),
    vector_rule("layers.{i}.attn.out.bias", "model.decoder.layers.{i}.self_attn.out_proj.bias", "",
                Role::kBias, Side::kHidden, When::kAttentionOutBias),
    vector_rule("layers.{i}.mlp_norm", "model.decoder.layers.{i}.final_layer_norm.weight", "",
                Role::kNorm, Side::kHidden, When::kNormWeight),
    vector_rule("layers.{i}.mlp_norm.bias", "model.decoder.layers.{i}.final_layer_norm.bias", "",
                Role::kNorm, Side::kHidden, When::kNormBias),
    linear_rule("layers.{i}.mlp.up", "model.decoder.layers.{i}.fc1.weight", "", Role::kMlpIn,
                Side::kIntermediate, Side::kHidden, "layers.{i}.mlp.in"),
    vector_rule("layers.{i}.mlp.up.bias", "model.decoder.layers.{i}.fc1.bias", "", Role::kBias,
                Side::kIntermediate, When::kMlpBias),
    linear_rule("layers.{i}.mlp.down", "model.decoder.layers.{i}.fc2.weight", "", Role::kMlpOut,
                Side::kHidden, Side::kIntermediate, "layers.{i}.mlp.mid"),
    vector_rule("layers.{i}.mlp.down.bias", "model.decoder.layers.{i}.fc2.bias", "", Role::kBias,
                Side::kHidden, When::kMlpBias),
    vector_rule("final_norm", "model.decoder.final_layer_norm.weight", "", Role::kNorm,
                Side::kHidden, When::kFinalNormWeight),
    vector_rule("final_norm.bias", "model.decoder.final_layer_norm.bias", "", Role::kNorm,
                Side::kHidden, When::kFinalNormBias),
    TensorRule{"project_out", "model.decoder.project_out.weight", "", Role::kProjection,
               Side::kTable, Side::kHidden, "", When::kProjection},
    TensorRule{"head", "lm_head.weight", "", Role::kHead, Side::kVocab, Side::kTable, "",
               When::kUntied},
};

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c;
  c.family = "opt";
  c.vocab_size = f.get_int("vocab_size");
  c.hidden = f.get_int("hidden_size");
  c.layers = f.get_int("num_hidden_layers");
  c.heads = c.kv_heads = f.get_int("num_attention_heads");
  split_heads(c);
  c.intermediate = f.get_int("ffn_dim");
  c.context = f.get_int("max_position_embeddings", 2048);
  c.embedding_width = f.get_int("word_embed_proj_dim", c.hidden);
  c.norm = NormKind::kLayerNorm;
  c.norm_eps = 1e-5;  // of PyTorch's LayerNorm
  const bool before = f.get_bool("do_layer_norm_before", true);
  c.norm_place = before ? NormPlace::kBranch : NormPlace::kAfterResidual;
  c.final_norm = before && !f.get_bool("_remove_final_layer_norm", false);
  c.norm_weights = f.get_bool("layer_norm_elementwise_affine", true);
  c.activation = parse_activation(f, "activation_function", "relu");
  c.gated_mlp = false;
  c.position = PositionKind::kLearned;
  c.position_offset = 2;
  c.tied_head = f.get_bool("tie_word_embeddings", true);
  c.norm_bias = true;
  c.attention_bias = c.attention_out_bias = c.mlp_bias = f.get_bool("enable_bias", true);
  return c;
}

}  // namespace

const Family kOptFamily = {
    .name = "opt",
    .architectures = {"OPTForCausalLM"},
    .model_types = {"opt"},
    .gguf_names = {},
    .optional_prefix = "model.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = nullptr,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

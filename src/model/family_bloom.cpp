// BLOOM: positions by ALiBi, a norm of the embeddings, fused q, k and v head by head.
#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

constexpr std::array kBeforeQkv = {
    TensorRule{"embed", "transformer.word_embeddings.weight", "token_embd.weight", Role::kEmbedding,
               Side::kVocab, Side::kHidden, ""},
    norm_rule("embed_norm", "transformer.word_embeddings_layernorm.weight",
              "token_embd_norm.weight"),
    norm_rule("embed_norm.bias", "transformer.word_embeddings_layernorm.bias",
              "token_embd_norm.bias"),
    norm_rule("layers.{i}.attn_norm", "transformer.h.{i}.input_layernorm.weight",
              "blk.{i}.attn_norm.weight"),
    norm_rule("layers.{i}.attn_norm.bias", "transformer.h.{i}.input_layernorm.bias",
              "blk.{i}.attn_norm.bias"),
};

constexpr std::array kBetween = {
    linear_rule("layers.{i}.attn.out", "transformer.h.{i}.self_attention.dense.weight",
                "blk.{i}.attn_output.weight", Role::kAttentionOut, Side::kHidden, Side::kQ,
                "layers.{i}.attn.out"),
    vector_rule("layers.{i}.attn.out.bias", "transformer.h.{i}.self_attention.dense.bias",
                "blk.{i}.attn_output.bias", Role::kBias, Side::kHidden),
    norm_rule("layers.{i}.mlp_norm", "transformer.h.{i}.post_attention_layernorm.weight",
              "blk.{i}.ffn_norm.weight"),
    norm_rule("layers.{i}.mlp_norm.bias", "transformer.h.{i}.post_attention_layernorm.bias",
              "blk.{i}.ffn_norm.bias"),
};

constexpr std::array kAfterBlocks = {
    norm_rule("final_norm", "transformer.ln_f.weight", "output_norm.weight"),
    norm_rule("final_norm.bias", "transformer.ln_f.bias", "output_norm.bias"),
    TensorRule{"head", "lm_head.weight", "output.weight", Role::kHead, Side::kVocab, Side::kHidden,
               "", When::kUntied},
};

constexpr auto kRules =
    join_rules(kBeforeQkv,
               fused_qkv_rules("transformer.h.{i}.self_attention.query_key_value.weight",
                               FusedOrder::kHeadByHead),
               fused_qkv_bias_rules("transformer.h.{i}.self_attention.query_key_value.bias",
                                    FusedOrder::kHeadByHead),
               kBetween,
               plain_mlp_rules({.up = "transformer.h.{i}.mlp.dense_h_to_4h.weight",
                                .up_bias = "transformer.h.{i}.mlp.dense_h_to_4h.bias",
                                .down = "transformer.h.{i}.mlp.dense_4h_to_h.weight",
                                .down_bias = "transformer.h.{i}.mlp.dense_4h_to_h.bias"}),
               kAfterBlocks);

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c;
  c.family = "bloom";
  c.vocab_size = f.get_int("vocab_size");
  c.hidden = f.has("n_embed") ? f.get_int("n_embed") : f.get_int("hidden_size");
  c.layers = f.has("n_layer") ? f.get_int("n_layer") : f.get_int("num_hidden_layers");
  c.heads = c.kv_heads = f.has("n_head") ? f.get_int("n_head") : f.get_int("num_attention_heads");
  split_heads(c);
  c.intermediate = 4 * c.hidden;
  c.context = f.get_int("seq_length", 2048);  // positions have no bound of their own
  c.norm = NormKind::kLayerNorm;
  c.norm_eps = f.get_float("layer_norm_epsilon", 1e-5);
  c.norm_place = f.get_bool("apply_residual_connection_post_layernorm", false)
                     ? NormPlace::kNormedStream
                     : NormPlace::kBranch;
  c.activation = Activation::kGeluTanh;
  c.gated_mlp = false;
  c.position = PositionKind::kAlibi;
  c.tied_head = f.get_bool("tie_word_embeddings", true);
  c.attention_bias = c.attention_out_bias = c.mlp_bias = c.norm_bias = true;
  return c;
}

constexpr std::array kGgufFields = {
    GgufField{"hidden_size", "embedding_length"},
    GgufField{"n_layer", "block_count"},
    GgufField{"n_head", "attention.head_count"},
    GgufField{"seq_length", "context_length"},
    GgufField{"layer_norm_epsilon", "attention.layer_norm_epsilon", GgufType::kFloat},
};

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = {{"model_type", "bloom"},
                           {"architectures", {"BloomForCausalLM"}},
                           {"apply_residual_connection_post_layernorm", false}};
  add_fields(config, g, kGgufFields);
  require_ungrouped_heads(g);
  const int64_t wide = 4 * g.get_int("embedding_length");
  if (g.get_int("feed_forward_length", wide) != wide) {
    g.refuse("feed_forward_length", "configurations of this family have 4 times the hidden size");
  }
  return config;
}

}  // namespace

const Family kBloomFamily = {
    .name = "bloom",
    .architectures = {"BloomForCausalLM"},
    .model_types = {"bloom"},
    .gguf_names = {"bloom"},
    .optional_prefix = "transformer.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

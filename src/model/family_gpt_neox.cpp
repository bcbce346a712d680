// GPT-NeoX and Pythia: attention and MLP side by side, rope on a part of each head, fused q, k
// and v head by head.
#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

constexpr TensorRule kHead = {.slot = "head",
                              .source = "embed_out.weight",
                              .gguf = "output.weight",
                              .role = Role::kHead,
                              .rows = Side::kVocab,
                              .cols = Side::kHidden,
                              .input = "",
                              .when = When::kUntied,
                              .alias = "lm_head.weight"};

constexpr std::array kBeforeQkv = {
    TensorRule{"embed", "gpt_neox.embed_in.weight", "token_embd.weight", Role::kEmbedding,
               Side::kVocab, Side::kHidden, ""},
    norm_rule("layers.{i}.attn_norm", "gpt_neox.layers.{i}.input_layernorm.weight",
              "blk.{i}.attn_norm.weight"),
    norm_rule("layers.{i}.attn_norm.bias", "gpt_neox.layers.{i}.input_layernorm.bias",
              "blk.{i}.attn_norm.bias"),
};

constexpr std::array kBetween = {
    linear_rule("layers.{i}.attn.out", "gpt_neox.layers.{i}.attention.dense.weight",
                "blk.{i}.attn_output.weight", Role::kAttentionOut, Side::kHidden, Side::kQ,
                "layers.{i}.attn.out"),
    vector_rule("layers.{i}.attn.out.bias", "gpt_neox.layers.{i}.attention.dense.bias",
                "blk.{i}.attn_output.bias", Role::kBias, Side::kHidden, When::kAttentionOutBias),
    norm_rule("layers.{i}.mlp_norm", "gpt_neox.layers.{i}.post_attention_layernorm.weight",
              "blk.{i}.ffn_norm.weight"),
    norm_rule("layers.{i}.mlp_norm.bias", "gpt_neox.layers.{i}.post_attention_layernorm.bias",
              "blk.{i}.ffn_norm.bias"),
};

constexpr std::array kAfterBlocks = {
    norm_rule("final_norm", "gpt_neox.final_layer_norm.weight", "output_norm.weight"),
    norm_rule("final_norm.bias", "gpt_neox.final_layer_norm.bias", "output_norm.bias"),
    kHead,
};

constexpr auto kRules =
    join_rules(kBeforeQkv,
               fused_qkv_rules("gpt_neox.layers.{i}.attention.query_key_value.weight",
                               FusedOrder::kHeadByHead),
               fused_qkv_bias_rules("gpt_neox.layers.{i}.attention.query_key_value.bias",
                                    FusedOrder::kHeadByHead),
               kBetween,
               plain_mlp_rules({.up = "gpt_neox.layers.{i}.mlp.dense_h_to_4h.weight",
                                .up_bias = "gpt_neox.layers.{i}.mlp.dense_h_to_4h.bias",
                                .down = "gpt_neox.layers.{i}.mlp.dense_4h_to_h.weight",
                                .down_bias = "gpt_neox.layers.{i}.mlp.dense_4h_to_h.bias"}),
               kAfterBlocks);

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "gpt_neox");
  c.kv_heads = c.heads;
  split_heads(c);
  c.norm = NormKind::kLayerNorm;
  c.norm_eps = f.get_float("layer_norm_eps", 1e-5);
  c.activation = parse_activation(f, "hidden_act", "gelu");
  c.gated_mlp = false;
  c.parallel_residual = f.get_bool("use_parallel_residual", true);
  c.rope =
      parse_rope(f, c.head_dim, c.context,
                 {.theta_name = "rotary_emb_base", .partial = 0.25, .partial_name = "rotary_pct"});
  c.attention_bias = c.attention_out_bias = f.get_bool("attention_bias", true);
  c.mlp_bias = c.norm_bias = true;
  return c;
}

constexpr std::array kGgufFields = {
    GgufField{"hidden_size", "embedding_length"},
    GgufField{"num_hidden_layers", "block_count"},
    GgufField{"num_attention_heads", "attention.head_count"},
    GgufField{"intermediate_size", "feed_forward_length"},
    GgufField{"max_position_embeddings", "context_length"},
    GgufField{"layer_norm_eps", "attention.layer_norm_epsilon", GgufType::kFloat},
    GgufField{"use_parallel_residual", "use_parallel_residual", GgufType::kBool, 1},
};

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = {{"model_type", "gpt_neox"}, {"architectures", {"GPTNeoXForCausalLM"}}};
  add_fields(config, g, kGgufFields);
  require_ungrouped_heads(g);
  const int64_t heads = config["num_attention_heads"], hidden = config["hidden_size"];
  if (heads <= 0 || heads > hidden) g.corrupt("attention.head_count", "1 to embedding_length");
  const int64_t dims = rope_dims(g, hidden / heads);
  config["rotary_emb_base"] = rope_base(g);
  config["rotary_pct"] = rope_share(dims, hidden / heads);
  config["rope_scaling"] = rope_scaling(g, dims);
  config["hidden_act"] = "gelu";
  config["attention_bias"] = g.has_tensor("blk.0.attn_qkv.bias");
  return config;
}

}  // namespace

const Family kGptNeoxFamily = {
    .name = "gpt_neox",
    .architectures = {"GPTNeoXForCausalLM"},
    .model_types = {"gpt_neox"},
    .gguf_names = {"gptneox"},
    .optional_prefix = "gpt_neox.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

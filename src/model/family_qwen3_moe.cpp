// Qwen3-MoE: Qwen3 with a mixture of experts in all blocks, or in some of them.
#include <algorithm>

#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

constexpr std::array kExperts = {
    linear_rule("layers.{i}.mlp.router", "model.layers.{i}.mlp.gate.weight",
                "blk.{i}.ffn_gate_inp.weight", Role::kRouter, Side::kExperts, Side::kHidden,
                "layers.{i}.mlp.in", When::kExperts),
    expert_rule("layers.{i}.mlp.experts.{e}.gate",
                "model.layers.{i}.mlp.experts.{e}.gate_proj.weight", "blk.{i}.ffn_gate_exps.weight",
                ExpertPart::kIn),
    expert_rule("layers.{i}.mlp.experts.{e}.up", "model.layers.{i}.mlp.experts.{e}.up_proj.weight",
                "blk.{i}.ffn_up_exps.weight", ExpertPart::kIn),
    expert_rule("layers.{i}.mlp.experts.{e}.down",
                "model.layers.{i}.mlp.experts.{e}.down_proj.weight", "blk.{i}.ffn_down_exps.weight",
                ExpertPart::kOut),
};

constexpr auto kRules = join_rules(kLlamaTable, kLlamaBlockNorms, kLlamaAttentionIn, kHeadNorms<0>,
                                   kLlamaAttentionOut, kLlamaMlp, kExperts, kLlamaHead);

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "qwen3_moe", 32768);
  c.kv_heads = f.get_int("num_key_value_heads", 4);
  c.rope = parse_rope(f, c.head_dim, c.context);
  c.attention_bias = c.attention_out_bias = f.get_bool("attention_bias", false);
  // Of both names the transformers library takes the one that it writes itself.
  c.experts = f.get_int("num_local_experts", f.get_int("num_experts", 128));
  c.experts_per_token = f.get_int("num_experts_per_tok", 8);
  c.expert_intermediate = f.get_int("moe_intermediate_size", 768);
  c.norm_expert_weights = f.get_bool("norm_topk_prob", false);
  const int64_t step = f.get_int("decoder_sparse_step", 1);
  if (step <= 0) f.refuse("decoder_sparse_step", "expected 1 or more");
  const std::vector<int32_t> dense = f.get_ids("mlp_only_layers");
  const int64_t window = get_optional_window(f, 4096);
  set_layers(c, [&](int64_t layer) {
    const bool listed = std::ranges::find(dense, layer) != dense.end();
    return LayerConfig{.window = window,
                       .experts = !listed && c.experts > 0 && (layer + 1) % step == 0};
  });
  return c;
}

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = llama_like_config(g, "qwen3_moe", "Qwen3MoeForCausalLM");
  add_rope_scaling(config, g);
  config["attention_bias"] = g.has_tensor("blk.0.attn_q.bias");
  add_experts(config, g, "num_experts");
  config["moe_intermediate_size"] = g.get_int("expert_feed_forward_length");
  config["norm_topk_prob"] = true;  // of all published models; files do not say
  config["decoder_sparse_step"] = 1;
  return config;
}

}  // namespace

const Family kQwen3MoeFamily = {
    .name = "qwen3_moe",
    .architectures = {"Qwen3MoeForCausalLM"},
    .model_types = {"qwen3_moe"},
    .gguf_names = {"qwen3moe"},
    .optional_prefix = "model.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

// Mixtral: Llama with a mixture of experts in every block; some checkpoints have a window.
#include "model/families.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

constexpr std::array kExperts = {
    linear_rule("layers.{i}.mlp.router", "model.layers.{i}.block_sparse_moe.gate.weight",
                "blk.{i}.ffn_gate_inp.weight", Role::kRouter, Side::kExperts, Side::kHidden,
                "layers.{i}.mlp.in"),
    expert_rule("layers.{i}.mlp.experts.{e}.gate",
                "model.layers.{i}.block_sparse_moe.experts.{e}.w1.weight",
                "blk.{i}.ffn_gate_exps.weight", ExpertPart::kIn, "blk.{i}.ffn_gate.{e}.weight"),
    expert_rule("layers.{i}.mlp.experts.{e}.up",
                "model.layers.{i}.block_sparse_moe.experts.{e}.w3.weight",
                "blk.{i}.ffn_up_exps.weight", ExpertPart::kIn, "blk.{i}.ffn_up.{e}.weight"),
    expert_rule("layers.{i}.mlp.experts.{e}.down",
                "model.layers.{i}.block_sparse_moe.experts.{e}.w2.weight",
                "blk.{i}.ffn_down_exps.weight", ExpertPart::kOut, "blk.{i}.ffn_down.{e}.weight"),
};

constexpr auto kRules = join_rules(kLlamaTable, kLlamaBlockNorms, kLlamaAttentionIn,
                                   kLlamaAttentionOut, kExperts, kLlamaHead);

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "mixtral", 131072);
  c.kv_heads = f.get_int("num_key_value_heads", f.is_null("num_key_value_heads") ? c.heads : 8);
  c.norm_eps = f.get_float("rms_norm_eps", 1e-5);
  c.rope = parse_rope(f, c.head_dim, c.context, {.theta = 1000000});
  // Of both names the transformers library takes the general one.
  c.experts = f.get_int("num_experts", f.get_int("num_local_experts", 8));
  c.experts_per_token = f.get_int("num_experts_per_tok", 2);
  c.expert_intermediate = c.intermediate;
  const int64_t window = get_window(f, 0);
  set_layers(c, [&](int64_t) { return LayerConfig{.window = window, .experts = true}; });
  return c;
}

}  // namespace

const Family kMixtralFamily = {
    .name = "mixtral",
    .architectures = {"MixtralForCausalLM"},
    .model_types = {"mixtral"},
    .gguf_names = {},
    .optional_prefix = "model.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = nullptr,
    .gguf_permutes_rope = true,
};

}  // namespace twofold

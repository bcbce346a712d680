// OLMo 2: Llama with norms of what each branch adds instead of what it reads, and of whole queries
// and keys.
#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

constexpr std::array kQkNorms = {
    norm_rule("layers.{i}.attn.q_norm", "model.layers.{i}.self_attn.q_norm.weight",
              "blk.{i}.attn_q_norm.weight", 0, Side::kQ),
    norm_rule("layers.{i}.attn.k_norm", "model.layers.{i}.self_attn.k_norm.weight",
              "blk.{i}.attn_k_norm.weight", 0, Side::kKv),
};

constexpr auto kRules = join_rules(kLlamaTable, kLlamaAttentionIn, kQkNorms, kLlamaAttentionOut,
                                   kLlamaMlp, kBranchNorms<0>, kLlamaHead);

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "olmo2");
  c.norm_eps = f.get_float("rms_norm_eps", 1e-5);
  c.rope = parse_rope(f, c.head_dim, c.context);
  c.attention_bias = c.attention_out_bias = f.get_bool("attention_bias", false);
  return c;
}

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = llama_like_config(g, "olmo2", "Olmo2ForCausalLM");
  add_rope_scaling(config, g);
  config["attention_bias"] = g.has_tensor("blk.0.attn_q.bias");
  return config;
}

}  // namespace

const Family kOlmo2Family = {
    .name = "olmo2",
    .architectures = {"Olmo2ForCausalLM"},
    .model_types = {"olmo2"},
    .gguf_names = {"olmo2"},
    .optional_prefix = "model.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

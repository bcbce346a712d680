// Qwen3: Llama with norms of the heads of queries and keys.
#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

constexpr auto kRules = join_rules(kLlamaTable, kLlamaBlockNorms, kLlamaAttentionIn, kHeadNorms<0>,
                                   kLlamaAttentionOut, kLlamaMlp, kLlamaHead);

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "qwen3", 32768);
  set_head_dim(c, f.get_int("head_dim", 128));
  c.rope = parse_rope(f, c.head_dim, c.context);
  c.attention_bias = c.attention_out_bias = f.get_bool("attention_bias", false);
  set_later_windows(c, f);
  return c;
}

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = llama_like_config(g, "qwen3", "Qwen3ForCausalLM");
  add_rope_scaling(config, g);
  config["attention_bias"] = g.has_tensor("blk.0.attn_q.bias");
  return config;
}

}  // namespace

const Family kQwen3Family = {
    .name = "qwen3",
    .architectures = {"Qwen3ForCausalLM"},
    .model_types = {"qwen3"},
    .gguf_names = {"qwen3"},
    .optional_prefix = "model.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

// Llama, and the many models with its configuration (SmolLM2, TinyLlama, llama2.c's stories).
#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"
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

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = llama_like_config(g, "llama", "LlamaForCausalLM");
  add_rope_scaling(config, g);
  config["attention_bias"] = g.has_tensor("blk.0.attn_q.bias");
  config["mlp_bias"] = g.has_tensor("blk.0.ffn_up.bias");
  // Mixtral's files have the same architecture, and so have Mistral's, which this family runs
  // alike: they never say the window of the few models that have one.
  if (const int64_t experts = g.get_int("expert_count", 0); experts > 0) {
    config["model_type"] = "mixtral";
    config["architectures"] = nlohmann::json::array({"MixtralForCausalLM"});
    config["sliding_window"] = nullptr;
    add_experts(config, g, "num_local_experts");
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

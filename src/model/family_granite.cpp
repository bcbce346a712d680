// Granite: Llama with four factors.
#include "model/families.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "granite");
  c.rope = parse_rope(f, c.head_dim, c.context);
  c.attention_bias = c.attention_out_bias = f.get_bool("attention_bias", false);
  c.mlp_bias = f.get_bool("mlp_bias", false);
  c.embedding_scale = f.get_float("embedding_multiplier", 1);
  c.attention_scale = f.get_float("attention_multiplier", 1);
  c.residual_scale = f.get_float("residual_multiplier", 1);
  const double scaling = f.get_float("logits_scaling", 1);
  if (scaling == 0) f.refuse("logits_scaling", "logits are divided by it");
  c.logit_scale = 1 / scaling;
  return c;
}

}  // namespace

const Family kGraniteFamily = {
    .name = "granite",
    .architectures = {"GraniteForCausalLM"},
    .model_types = {"granite"},
    .gguf_names = {},
    .optional_prefix = "model.",
    .rules = kLlamaRules,
    .parse_config = parse,
    .config_from_gguf = nullptr,
    .gguf_permutes_rope = true,
};

}  // namespace twofold

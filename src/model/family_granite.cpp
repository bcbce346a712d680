// Granite: Llama with four factors.
#include <cmath>

#include "model/families.h"
#include "model/gguf_fields.h"
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

constexpr std::array kGgufFields = {
    GgufField{"embedding_multiplier", "embedding_scale", GgufType::kFloat, 1},
    GgufField{"residual_multiplier", "residual_scale", GgufType::kFloat, 1},
    GgufField{"logits_scaling", "logit_scale", GgufType::kFloat, 1},
};

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = llama_like_config(g, "granite", "GraniteForCausalLM");
  add_rope_scaling(config, g);
  add_fields(config, g, kGgufFields);
  const double head_dim = config["head_dim"];
  config["attention_multiplier"] = g.get_float("attention.scale", 1 / std::sqrt(head_dim));
  config["attention_bias"] = g.has_tensor("blk.0.attn_q.bias");
  config["mlp_bias"] = g.has_tensor("blk.0.ffn_up.bias");
  // In files of this family the key says whether there is rope at all.
  if (!g.get_bool("rope.scaling.finetuned", true)) {
    g.refuse("rope.scaling.finetuned", "models without rope");
  }
  return config;
}

}  // namespace

const Family kGraniteFamily = {
    .name = "granite",
    .architectures = {"GraniteForCausalLM"},
    .model_types = {"granite"},
    .gguf_names = {"granite"},
    .optional_prefix = "model.",
    .rules = kLlamaRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = true,
};

}  // namespace twofold

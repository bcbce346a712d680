// Qwen2 and Qwen2.5: Llama with biases of q, k and v; later layers may have a window.
#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "qwen2", 32768);
  c.rope = parse_rope(f, c.head_dim, c.context);
  c.attention_bias = true;
  set_later_windows(c, f);
  return c;
}

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = llama_like_config(g, "qwen2", "Qwen2ForCausalLM");
  add_rope_scaling(config, g);
  return config;
}

}  // namespace

const Family kQwen2Family = {
    .name = "qwen2",
    .architectures = {"Qwen2ForCausalLM"},
    .model_types = {"qwen2"},
    .gguf_names = {"qwen2"},
    .optional_prefix = "model.",
    .rules = kLlamaRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

// Mistral: Llama with a window that slides over all layers.
#include "model/families.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "mistral", 131072);
  c.kv_heads = f.get_int("num_key_value_heads", 8);
  c.rope = parse_rope(f, c.head_dim, c.context);
  set_window(c, get_window(f, 4096));
  return c;
}

}  // namespace

const Family kMistralFamily = {
    .name = "mistral",
    .architectures = {"MistralForCausalLM"},
    .model_types = {"mistral"},
    .gguf_names = {},
    .optional_prefix = "model.",
    .rules = kLlamaRules,
    .parse_config = parse,
    .config_from_gguf = nullptr,
    .gguf_permutes_rope = true,
};

}  // namespace twofold

// SmolLM3: Llama; some layers without rope.
#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "smollm3", 32768);
  c.kv_heads = f.get_int("num_key_value_heads", 4);
  c.tied_head = f.get_bool("tie_word_embeddings", true);
  c.rope = parse_rope(f, c.head_dim, c.context, {.theta = 2000000});
  c.attention_bias = c.attention_out_bias = f.get_bool("attention_bias", false);
  c.mlp_bias = f.get_bool("mlp_bias", false);
  const std::vector<int32_t> list = f.get_ids("no_rope_layers");  // 1: the layer has rope
  const int64_t interval = f.get_int("no_rope_layer_interval", 4);
  if (!list.empty() && std::ssize(list) != c.layers) {
    f.refuse("no_rope_layers", fmt::format("expected one for each of {} layers", c.layers));
  }
  if (list.empty() && interval <= 0) f.refuse("no_rope_layer_interval", "expected 1 or more");
  const auto has_rope = [&](int64_t layer) {
    return list.empty() ? (layer + 1) % interval != 0 : list[static_cast<size_t>(layer)] != 0;
  };
  const int64_t window = get_optional_window(f, 0);
  set_windows(c, f, window, [&](int64_t layer) { return window > 0 && !has_rope(layer); });
  for (size_t i = 0; i < c.layer_configs.size(); ++i) {
    if (!has_rope(static_cast<int64_t>(i))) c.layer_configs[i].rope = LayerRope::kNone;
  }
  return c;
}

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = llama_like_config(g, "smollm3", "SmolLM3ForCausalLM");
  add_rope_scaling(config, g);
  config["attention_bias"] = g.has_tensor("blk.0.attn_q.bias");
  config["mlp_bias"] = g.has_tensor("blk.0.ffn_up.bias");
  config["no_rope_layer_interval"] = 4;  // of all published models; files do not say
  return config;
}

}  // namespace

const Family kSmolLm3Family = {
    .name = "smollm3",
    .architectures = {"SmolLM3ForCausalLM"},
    .model_types = {"smollm3"},
    .gguf_names = {"smollm3"},
    .optional_prefix = "model.",
    .rules = kLlamaRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = true,
};

}  // namespace twofold

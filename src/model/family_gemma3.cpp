// Gemma 3, text models: norms before and after each branch and of queries and keys, all stored less
// 1; layers with a window, which have a rope of their own, between layers without.
#include <cmath>

#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

constexpr auto kRules = join_rules(kLlamaTable, kGemmaBlockNorms, kLlamaAttentionIn, kHeadNorms<1>,
                                   kLlamaAttentionOut, kLlamaMlp, kBranchNorms<1>, kGemmaHead);

/// rope_parameters has an object for each kind of layer; older files have rope_theta, with
/// rope_scaling for the layers without a window, and rope_local_base_freq. Fields of rope_scaling
/// replace those of full_attention.
void parse_ropes(ModelConfig& c, const nlohmann::json& json, const JsonFields& f) {
  nlohmann::json merged = nlohmann::json::object();
  std::optional<JsonFields> sliding;
  if (const std::optional<JsonFields> by_layer = f.get_object("rope_parameters")) {
    if (by_layer->get_object("full_attention")) merged = json["rope_parameters"]["full_attention"];
    sliding = by_layer->get_object("sliding_attention");
  }
  if (f.get_object("rope_scaling")) merged.update(json["rope_scaling"]);
  const JsonFields full(merged, f.where() + ": rope of full_attention");
  c.rope = parse_rope_object(f, full, c.head_dim, c.context, {.theta = 1000000});
  c.local_rope = parse_rope_object(f, sliding, c.head_dim, c.context,
                                   {.theta = 10000, .theta_name = "rope_local_base_freq"});
}

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "gemma3", 131072);
  c.head_dim = f.get_int("head_dim", 256);
  c.kv_heads = f.get_int("num_key_value_heads", 4);
  parse_gemma(c, f);
  parse_ropes(c, json, f);
  c.attention_softcap = f.get_float("attn_logit_softcapping", 0);
  c.logit_softcap = f.get_float("final_logit_softcapping", 0);
  const int64_t pattern = f.get_int("sliding_window_pattern", 6);
  if (pattern <= 0) f.refuse("sliding_window_pattern", "expected 1 or more");
  set_windows(c, f, f.get_int("sliding_window", 4096),
              [&](int64_t layer) { return (layer + 1) % pattern != 0; });
  for (LayerConfig& layer : c.layer_configs) {
    if (layer.window > 0) layer.rope = LayerRope::kLocal;
  }
  return c;
}

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = gemma_like_config(g, "gemma3_text", "Gemma3ForCausalLM", 62);
  config["attn_logit_softcapping"] = get_softcap(g, "attn_logit_softcapping", 0);
  config["final_logit_softcapping"] = get_softcap(g, "final_logit_softcapping", 0);
  add_windows(config, g, g.get_int("attention.sliding_window"), 6);
  config["rope_local_base_freq"] = g.get_float("rope.freq_base_swa", 10000);
  return config;
}

}  // namespace

const Family kGemma3Family = {
    .name = "gemma3",
    .architectures = {"Gemma3ForCausalLM"},
    .model_types = {"gemma3_text"},
    .gguf_names = {"gemma3"},
    .optional_prefix = "model.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

// Gemma 2: norms before and after each branch, stored less 1; soft caps; every other layer has a
// window.
#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

constexpr auto kRules = join_rules(kLlamaTable, kGemmaBlockNorms, kLlamaAttentionIn,
                                   kLlamaAttentionOut, kLlamaMlp, kBranchNorms<1>, kGemmaHead);

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "gemma2", 8192);
  c.head_dim = f.get_int("head_dim", 256);
  c.kv_heads = f.get_int("num_key_value_heads", 4);
  c.rope = parse_rope(f, c.head_dim, c.context);
  parse_gemma(c, f);
  // Absent means the default of the transformers library, null means none.
  const auto softcap = [&](const char* name, double absent) {
    return f.get_float(name, f.is_null(name) ? 0 : absent);
  };
  c.attention_softcap = softcap("attn_logit_softcapping", 50);
  c.logit_softcap = softcap("final_logit_softcapping", 30);
  set_windows(c, f, f.get_int("sliding_window", 4096),
              [](int64_t layer) { return layer % 2 == 0; });
  return c;
}

nlohmann::json from_gguf(GgufFields& g) {
  nlohmann::json config = gemma_like_config(g, "gemma2", "Gemma2ForCausalLM", 46);
  config["attn_logit_softcapping"] = get_softcap(g, "attn_logit_softcapping", 50);
  config["final_logit_softcapping"] = get_softcap(g, "final_logit_softcapping", 30);
  add_windows(config, g, g.get_int("attention.sliding_window", 4096), 2);
  return config;
}

}  // namespace

const Family kGemma2Family = {
    .name = "gemma2",
    .architectures = {"Gemma2ForCausalLM"},
    .model_types = {"gemma2"},
    .gguf_names = {"gemma2"},
    .optional_prefix = "model.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

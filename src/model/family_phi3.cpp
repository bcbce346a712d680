// Phi-3 and Phi-4: Llama with fused projections; LongRoPE in the models of long context.
#include <cmath>

#include "model/families.h"
#include "model/gguf_fields.h"
#include "model/json_fields.h"
#include "model/rope_factors.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

constexpr std::array<Side, 3> kGateUp = {Side::kIntermediate, Side::kIntermediate};

constexpr TensorRule gate_up(std::string_view slot, FusedPart part) {
  return part_of(
      linear_rule(slot, "model.layers.{i}.mlp.gate_up_proj.weight", "blk.{i}.ffn_up.weight",
                  Role::kMlpIn, Side::kIntermediate, Side::kHidden, "layers.{i}.mlp.in"),
      part);
}

constexpr auto kFusedAttentionIn =
    fused_qkv_rules("model.layers.{i}.self_attn.qkv_proj.weight", FusedOrder::kPartByPart);

constexpr std::array kFusedMlp = {
    gate_up("layers.{i}.mlp.gate", {"gate", kGateUp, 0}),
    gate_up("layers.{i}.mlp.up", {"up", kGateUp, 1}),
    linear_rule("layers.{i}.mlp.down", "model.layers.{i}.mlp.down_proj.weight",
                "blk.{i}.ffn_down.weight", Role::kMlpOut, Side::kHidden, Side::kIntermediate,
                "layers.{i}.mlp.mid"),
};

constexpr auto kRules = join_rules(kLlamaTable, kLlamaBlockNorms, kFusedAttentionIn,
                                   kLlamaAttentionOut, kFusedMlp, kLlamaHead);

ModelConfig parse(const nlohmann::json& json, std::string_view where) {
  const JsonFields f(json, where);
  ModelConfig c = parse_llama_like(f, "phi3", 4096);
  c.norm_eps = f.get_float("rms_norm_eps", 1e-5);
  c.rope = parse_rope(f, c.head_dim, c.context, {.original_context = 4096});
  set_window(c, get_window(f, 0));
  return c;
}

/// LongRoPE reaches GGUF files as tensors of divisors, for sequences up to the original context and
/// for longer ones.
nlohmann::json longrope(GgufFields& g, int64_t dims, int64_t context, int64_t original) {
  const std::string type = g.get_string("rope.scaling.type", "longrope");
  if (type != "longrope") g.refuse("rope.scaling.type", "the file has divisors of longrope");
  nlohmann::json scaling = {{"type", "longrope"},
                            {"short_factor", g.get_vector("rope_factors_short.weight", dims / 2)},
                            {"long_factor", g.get_vector("rope_factors_long.weight", dims / 2)}};
  const double attention = g.get_float("rope.scaling.attn_factor", 1);
  const double inferred = longrope_attention_factor(
      static_cast<double>(context) / static_cast<double>(original), original);
  // The transformers library before version 5 allows no field beside those three.
  if (!(std::abs(attention - inferred) <= 1e-6 * inferred)) scaling["attention_factor"] = attention;
  return scaling;
}

nlohmann::json from_gguf(GgufFields& g) {
  constexpr std::string_view kOriginal = "rope.scaling.original_context_length";
  const bool longer =
      g.has_tensor("rope_factors_long.weight") || g.has_tensor("rope_factors_short.weight");
  nlohmann::json config = llama_like_config(g, "phi3", "Phi3ForCausalLM");
  const int64_t context = config["max_position_embeddings"];
  const int64_t original = g.get_int(kOriginal, context);
  if (original <= 1) g.corrupt(kOriginal, "2 or more");
  config["original_max_position_embeddings"] = original;
  const int64_t dims = rope_dims(g, config["head_dim"]);
  nlohmann::json scaling = longer ? longrope(g, dims, context, original) : rope_scaling(g, dims);
  if (!scaling.is_null()) config["rope_scaling"] = std::move(scaling);
  const int64_t window = g.get_int("attention.sliding_window", 0);
  if (window > 0) config["sliding_window"] = window;
  return config;
}

}  // namespace

const Family kPhi3Family = {
    .name = "phi3",
    .architectures = {"Phi3ForCausalLM"},
    .model_types = {"phi3"},
    .gguf_names = {"phi3"},
    .optional_prefix = "model.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = from_gguf,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

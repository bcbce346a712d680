// Phi-3 and Phi-4: Llama with fused projections; LongRoPE in the models of long context.
#include "model/families.h"
#include "model/json_fields.h"
#include "model/rule_sets.h"

namespace twofold {
namespace {

constexpr std::array<Side, 3> kQkv = {Side::kQ, Side::kKv, Side::kKv};
constexpr std::array<Side, 3> kGateUp = {Side::kIntermediate, Side::kIntermediate};

constexpr TensorRule qkv(std::string_view slot, FusedPart part) {
  return part_of(
      linear_rule(slot, "model.layers.{i}.self_attn.qkv_proj.weight", "blk.{i}.attn_qkv.weight",
                  Role::kAttentionIn, part.sides[part.index], Side::kHidden, "layers.{i}.attn.in"),
      part);
}

constexpr TensorRule gate_up(std::string_view slot, FusedPart part) {
  return part_of(
      linear_rule(slot, "model.layers.{i}.mlp.gate_up_proj.weight", "blk.{i}.ffn_up.weight",
                  Role::kMlpIn, Side::kIntermediate, Side::kHidden, "layers.{i}.mlp.in"),
      part);
}

constexpr std::array kFusedAttentionIn = {
    qkv("layers.{i}.attn.q", {"q", kQkv, 0}),
    qkv("layers.{i}.attn.k", {"k", kQkv, 1}),
    qkv("layers.{i}.attn.v", {"v", kQkv, 2}),
};

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
  c.rope = parse_rope(f, c.head_dim, c.context);
  set_window(c, get_window(f, 0));
  return c;
}

}  // namespace

const Family kPhi3Family = {
    .name = "phi3",
    .architectures = {"Phi3ForCausalLM"},
    .model_types = {"phi3"},
    .gguf_names = {},
    .optional_prefix = "model.",
    .rules = kRules,
    .parse_config = parse,
    .config_from_gguf = nullptr,
    .gguf_permutes_rope = false,
};

}  // namespace twofold

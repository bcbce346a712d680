// Tensors that many families name alike (those that began as Llama in the transformers library), as
// pieces that a family's rules are joined of.
#pragma once

#include <array>

#include "model/family.h"

namespace twofold {

constexpr TensorRule vector_rule(std::string_view slot, std::string_view source,
                                 std::string_view gguf, Role role, Side rows,
                                 When when = When::kAlways) {
  return {slot, source, gguf, role, rows, Side::kNone, "", when};
}

constexpr TensorRule norm_rule(std::string_view slot, std::string_view source,
                               std::string_view gguf, float stored_less = 0,
                               Side rows = Side::kHidden) {
  TensorRule rule = vector_rule(slot, source, gguf, Role::kNorm, rows);
  rule.stored_less = stored_less;
  return rule;
}

constexpr TensorRule linear_rule(std::string_view slot, std::string_view source,
                                 std::string_view gguf, Role role, Side rows, Side cols,
                                 std::string_view input, When when = When::kAlways) {
  return {slot, source, gguf, role, rows, cols, input, when, true};
}

/// The same with rows that rope turns.
constexpr TensorRule roped(TensorRule rule) {
  rule.rope_rows = true;
  return rule;
}

constexpr TensorRule part_of(TensorRule rule, FusedPart part) {
  rule.part = part;
  return rule;
}

constexpr std::array<Side, 3> kFusedQkv = {Side::kQ, Side::kKv, Side::kKv};

/// How the rows of q, k and v lie in a fused tensor of a Hugging Face folder.
enum class FusedOrder { kPartByPart, kHeadByHead };

constexpr std::array<TensorRule, 3> fused_qkv_rules(std::string_view source, FusedOrder order) {
  const auto rule = [&](std::string_view slot, std::string_view name, size_t index) {
    return part_of(linear_rule(slot, source, "blk.{i}.attn_qkv.weight", Role::kAttentionIn,
                               kFusedQkv[index], Side::kHidden, "layers.{i}.attn.in"),
                   {name, kFusedQkv, index, order == FusedOrder::kHeadByHead});
  };
  return {rule("layers.{i}.attn.q", "q", 0), rule("layers.{i}.attn.k", "k", 1),
          rule("layers.{i}.attn.v", "v", 2)};
}

constexpr std::array<TensorRule, 3> fused_qkv_bias_rules(std::string_view source,
                                                         FusedOrder order) {
  const auto rule = [&](std::string_view slot, std::string_view name, size_t index) {
    return part_of(vector_rule(slot, source, "blk.{i}.attn_qkv.bias", Role::kBias, kFusedQkv[index],
                               When::kAttentionBias),
                   {name, kFusedQkv, index, order == FusedOrder::kHeadByHead});
  };
  return {rule("layers.{i}.attn.q.bias", "q", 0), rule("layers.{i}.attn.k.bias", "k", 1),
          rule("layers.{i}.attn.v.bias", "v", 2)};
}

/// Hugging Face's names of an MLP without a gate.
struct PlainMlpNames {
  std::string_view up, up_bias, down, down_bias;
};

constexpr std::array<TensorRule, 4> plain_mlp_rules(const PlainMlpNames& source) {
  return {linear_rule("layers.{i}.mlp.up", source.up, "blk.{i}.ffn_up.weight", Role::kMlpIn,
                      Side::kIntermediate, Side::kHidden, "layers.{i}.mlp.in"),
          vector_rule("layers.{i}.mlp.up.bias", source.up_bias, "blk.{i}.ffn_up.bias", Role::kBias,
                      Side::kIntermediate, When::kMlpBias),
          linear_rule("layers.{i}.mlp.down", source.down, "blk.{i}.ffn_down.weight", Role::kMlpOut,
                      Side::kHidden, Side::kIntermediate, "layers.{i}.mlp.mid"),
          vector_rule("layers.{i}.mlp.down.bias", source.down_bias, "blk.{i}.ffn_down.bias",
                      Role::kBias, Side::kHidden, When::kMlpBias)};
}

enum class ExpertPart { kIn, kOut };

/// One of the matrices of an expert, whose tokens are its own. GGUF files hold those of all experts
/// in one tensor, or as `gguf_single` says.
constexpr TensorRule expert_rule(std::string_view slot, std::string_view source,
                                 std::string_view gguf, ExpertPart part,
                                 std::string_view gguf_single = {}) {
  TensorRule rule =
      part == ExpertPart::kOut
          ? linear_rule(slot, source, gguf, Role::kMlpOut, Side::kHidden, Side::kExpertIntermediate,
                        "layers.{i}.mlp.experts.{e}.mid", When::kExperts)
          : linear_rule(slot, source, gguf, Role::kMlpIn, Side::kExpertIntermediate, Side::kHidden,
                        "layers.{i}.mlp.experts.{e}.in", When::kExperts);
  if (part == ExpertPart::kIn) rule.wider_input = "layers.{i}.mlp.in";
  rule.gguf_single = gguf_single;
  return rule;
}

template <size_t... N>
constexpr auto join_rules(const std::array<TensorRule, N>&... pieces) {
  std::array<TensorRule, (N + ...)> all{};
  size_t count = 0;
  const auto add = [&](const auto& piece) {
    for (const TensorRule& rule : piece) all[count++] = rule;
  };
  (add(pieces), ...);
  return all;
}

constexpr std::array kLlamaTable = {
    TensorRule{"embed", "model.embed_tokens.weight", "token_embd.weight", Role::kEmbedding,
               Side::kVocab, Side::kHidden, ""},
};

constexpr std::array kLlamaBlockNorms = {
    norm_rule("layers.{i}.attn_norm", "model.layers.{i}.input_layernorm.weight",
              "blk.{i}.attn_norm.weight"),
    norm_rule("layers.{i}.mlp_norm", "model.layers.{i}.post_attention_layernorm.weight",
              "blk.{i}.ffn_norm.weight"),
};

constexpr std::array kLlamaAttentionIn = {
    roped(linear_rule("layers.{i}.attn.q", "model.layers.{i}.self_attn.q_proj.weight",
                      "blk.{i}.attn_q.weight", Role::kAttentionIn, Side::kQ, Side::kHidden,
                      "layers.{i}.attn.in")),
    roped(linear_rule("layers.{i}.attn.k", "model.layers.{i}.self_attn.k_proj.weight",
                      "blk.{i}.attn_k.weight", Role::kAttentionIn, Side::kKv, Side::kHidden,
                      "layers.{i}.attn.in")),
    linear_rule("layers.{i}.attn.v", "model.layers.{i}.self_attn.v_proj.weight",
                "blk.{i}.attn_v.weight", Role::kAttentionIn, Side::kKv, Side::kHidden,
                "layers.{i}.attn.in"),
    roped(vector_rule("layers.{i}.attn.q.bias", "model.layers.{i}.self_attn.q_proj.bias",
                      "blk.{i}.attn_q.bias", Role::kBias, Side::kQ, When::kAttentionBias)),
    roped(vector_rule("layers.{i}.attn.k.bias", "model.layers.{i}.self_attn.k_proj.bias",
                      "blk.{i}.attn_k.bias", Role::kBias, Side::kKv, When::kAttentionBias)),
    vector_rule("layers.{i}.attn.v.bias", "model.layers.{i}.self_attn.v_proj.bias",
                "blk.{i}.attn_v.bias", Role::kBias, Side::kKv, When::kAttentionBias),
};

constexpr std::array kLlamaAttentionOut = {
    linear_rule("layers.{i}.attn.out", "model.layers.{i}.self_attn.o_proj.weight",
                "blk.{i}.attn_output.weight", Role::kAttentionOut, Side::kHidden, Side::kQ,
                "layers.{i}.attn.out"),
    vector_rule("layers.{i}.attn.out.bias", "model.layers.{i}.self_attn.o_proj.bias",
                "blk.{i}.attn_output.bias", Role::kBias, Side::kHidden, When::kAttentionOutBias),
};

constexpr std::array kLlamaMlp = {
    linear_rule("layers.{i}.mlp.gate", "model.layers.{i}.mlp.gate_proj.weight",
                "blk.{i}.ffn_gate.weight", Role::kMlpIn, Side::kIntermediate, Side::kHidden,
                "layers.{i}.mlp.in", When::kDenseMlp),
    linear_rule("layers.{i}.mlp.up", "model.layers.{i}.mlp.up_proj.weight", "blk.{i}.ffn_up.weight",
                Role::kMlpIn, Side::kIntermediate, Side::kHidden, "layers.{i}.mlp.in",
                When::kDenseMlp),
    vector_rule("layers.{i}.mlp.gate.bias", "model.layers.{i}.mlp.gate_proj.bias",
                "blk.{i}.ffn_gate.bias", Role::kBias, Side::kIntermediate, When::kMlpBias),
    vector_rule("layers.{i}.mlp.up.bias", "model.layers.{i}.mlp.up_proj.bias",
                "blk.{i}.ffn_up.bias", Role::kBias, Side::kIntermediate, When::kMlpBias),
    linear_rule("layers.{i}.mlp.down", "model.layers.{i}.mlp.down_proj.weight",
                "blk.{i}.ffn_down.weight", Role::kMlpOut, Side::kHidden, Side::kIntermediate,
                "layers.{i}.mlp.mid", When::kDenseMlp),
    vector_rule("layers.{i}.mlp.down.bias", "model.layers.{i}.mlp.down_proj.bias",
                "blk.{i}.ffn_down.bias", Role::kBias, Side::kHidden, When::kMlpBias),
};

constexpr std::array kLlamaHead = {
    norm_rule("final_norm", "model.norm.weight", "output_norm.weight"),
    TensorRule{"head", "lm_head.weight", "output.weight", Role::kHead, Side::kVocab, Side::kHidden,
               "", When::kUntied},
};

/// Norms of queries and keys, of every head alike (Qwen3, Gemma 3).
template <int StoredLess>
constexpr std::array kHeadNorms = {
    norm_rule("layers.{i}.attn.q_norm", "model.layers.{i}.self_attn.q_norm.weight",
              "blk.{i}.attn_q_norm.weight", StoredLess, Side::kHead),
    norm_rule("layers.{i}.attn.k_norm", "model.layers.{i}.self_attn.k_norm.weight",
              "blk.{i}.attn_k_norm.weight", StoredLess, Side::kHead),
};

/// Norms of what the branches of a block add (OLMo 2, Gemma).
template <int StoredLess>
constexpr std::array kBranchNorms = {
    norm_rule("layers.{i}.attn_post_norm", "model.layers.{i}.post_attention_layernorm.weight",
              "blk.{i}.post_attention_norm.weight", StoredLess),
    norm_rule("layers.{i}.mlp_post_norm", "model.layers.{i}.post_feedforward_layernorm.weight",
              "blk.{i}.post_ffw_norm.weight", StoredLess),
};

constexpr std::array kGemmaBlockNorms = {
    norm_rule("layers.{i}.attn_norm", "model.layers.{i}.input_layernorm.weight",
              "blk.{i}.attn_norm.weight", 1),
    norm_rule("layers.{i}.mlp_norm", "model.layers.{i}.pre_feedforward_layernorm.weight",
              "blk.{i}.ffn_norm.weight", 1),
};

constexpr std::array kGemmaHead = {
    norm_rule("final_norm", "model.norm.weight", "output_norm.weight", 1),
    kLlamaHead[1],
};

constexpr auto kLlamaRules = join_rules(kLlamaTable, kLlamaBlockNorms, kLlamaAttentionIn,
                                        kLlamaAttentionOut, kLlamaMlp, kLlamaHead);

}  // namespace twofold

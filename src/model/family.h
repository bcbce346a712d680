// Family: what is particular about one kind of model, as data: how its configuration reads, which
// tensors it has, what they are called in Hugging Face and GGUF files, and which input each linear
// reads. One file of data per family, one line in the registry.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf.h"
#include "model/config.h"

namespace twofold {

/// What a tensor is for. Recipes, reports and bit allocation speak of roles.
enum class Role {
  kEmbedding,    // token table
  kPosition,     // position table
  kHead,         // output head
  kNorm,         // norm weight or bias
  kBias,         // bias of a linear
  kAttentionIn,  // q, k, v or a fused form: reads attn.in
  kAttentionOut,
  kMlpIn,  // gate, up, fc: reads mlp.in
  kMlpOut,
};
std::string_view role_name(Role role);  // "attention-in"
std::span<const Role> all_roles();
/// True for the linears inside blocks: what a quantization method applies to.
bool is_block_linear(Role role);

/// Symbolic sides of tensors, resolved by `side_length`.
enum class Side { kNone, kVocab, kHidden, kContext, kQ, kKv, kQkv, kIntermediate };
int64_t side_length(Side side, const ModelConfig& config);

/// When a tensor exists.
enum class When { kAlways, kUntied, kAttentionBias, kAttentionOutBias, kMlpBias, kNormBias };
bool applies(When when, const ModelConfig& config);

struct TensorRule {
  std::string_view slot;    // "layers.{i}.attn.q"; {i} = block number, absent outside blocks
  std::string_view source;  // "model.layers.{i}.self_attn.q_proj.weight"
  std::string_view gguf;    // "blk.{i}.attn_q.weight"
  Role role;
  Side rows, cols;         // logical [out, in]; vectors have cols = kNone
  std::string_view input;  // "layers.{i}.attn.in" for linears: those that share it share H
  When when = When::kAlways;
  bool linear = false;     // stored transposed if the configuration says so
  bool rope_rows = false;  // rows are heads x rope pairs (q and k): GGUF permutes them
};

struct Family {
  std::string_view name;                        // "llama"
  std::vector<std::string_view> architectures;  // "LlamaForCausalLM" ...
  std::vector<std::string_view> model_types;    // "llama" ...
  std::vector<std::string_view> gguf_names;     // general.architecture
  /// Prefix of the sources that some checkpoints leave out ("transformer.").
  std::string_view optional_prefix;
  std::span<const TensorRule> rules;
  /// Reads config.json. @throws Error(kUnsupported) naming a field and value that would change the
  /// result and is not handled; Error(kCorruptFile) on a missing or mistyped field.
  ModelConfig (*parse_config)(const nlohmann::json& config, std::string_view where);
  /// A config.json with the same meaning, from GGUF metadata and tensors.
  nlohmann::json (*config_from_gguf)(const GgufFile& file);
  /// GGUF files of this family hold q and k rows permuted (llama does, qwen2 does not).
  bool gguf_permutes_rope;
};

std::span<const Family* const> all_families();
/// Finds by "architectures" or "model_type". @throws Error(kUnsupported) with the list of names.
const Family& find_family(const nlohmann::json& config, std::string_view where);
const Family& find_gguf_family(const GgufFile& file);

}  // namespace twofold

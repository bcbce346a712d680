// Family: what is particular about one kind of model, as data: how its configuration reads, which
// tensors it has, what they are called in Hugging Face and GGUF files, and which input each linear
// reads. One file of data per family, one line in the registry.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf.h"
#include "io/stored_tensor.h"
#include "model/config.h"

namespace twofold {

class GgufFields;

/// What a tensor is for. Recipes, reports and bit allocation speak of roles.
enum class Role {
  kEmbedding,    // token table
  kPosition,     // position table
  kHead,         // output head
  kNorm,         // norm weight or bias
  kBias,         // bias of a linear
  kProjection,   // between the width of the token table and the hidden size
  kRouter,       // chooses experts
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
enum class Side {
  kNone,
  kVocab,
  kHidden,
  kTable,     // width of the token table
  kPosition,  // rows of the position table
  kQ,
  kKv,
  kQkv,
  kHead,  // one head
  kIntermediate,
  kExperts,
  kExpertIntermediate,
};
int64_t side_length(Side side, const ModelConfig& config);

/// When a tensor exists.
enum class When {
  kAlways,
  kUntied,
  kAttentionBias,
  kAttentionOutBias,
  kMlpBias,
  kNormWeight,
  kNormBias,
  kFinalNormWeight,
  kFinalNormBias,
  kProjection,  // the token table is not as wide as the hidden size
  kDenseMlp,    // the layer's MLP is no mixture of experts
  kExperts,     // it is one
};
/// @param layer block number; any outside of blocks.
bool applies(When when, const ModelConfig& config, int64_t layer);

/// The rows of one matrix (or vector) inside a fused tensor of a Hugging Face folder. GGUF files
/// hold the parts of fused tensors one after the other.
struct FusedPart {
  std::string_view name;      // "q"
  std::array<Side, 3> sides;  // of all parts, kNone at the end
  size_t index;               // of this one
  bool by_head = false;       // for each key-value head its rows of every part, part by part
};
/// Rows that the fused tensor has, and where the part lies in it, one part after the other or by
/// head.
int64_t fused_rows(const FusedPart& part, const ModelConfig& config);
WeightView fused_view(const FusedPart& part, bool by_head, const ModelConfig& config);

struct TensorRule {
  /// "layers.{i}.attn.q"; {i} = block number, absent outside blocks; {e} = expert.
  std::string_view slot;
  std::string_view source;  // "model.layers.{i}.self_attn.q_proj.weight"
  std::string_view gguf;    // "blk.{i}.attn_q.weight"
  Role role;
  Side rows, cols;  // logical [out, in]; vectors have cols = kNone
  /// "layers.{i}.attn.in" for linears: those that share it share H. Rules name the inputs of a
  /// block in the order in which it makes them.
  std::string_view input;
  When when = When::kAlways;
  bool linear = false;     // stored transposed if the configuration says so
  bool rope_rows = false;  // rows are heads x rope pairs (q and k): GGUF permutes them
  std::optional<FusedPart> part = std::nullopt;  // of the tensor `source`; nothing: all of it
  /// Hugging Face folders store the numbers less this (Gemma's norms: 1); GGUF files do not.
  float stored_less = 0;
  std::string_view alias = "";  // other name of `source`, as some versions of its makers write it
  /// Of an expert's linear: an input whose tokens are those of all experts, which stands in where
  /// the expert's own are too few to calibrate it.
  std::string_view wider_input = {};
  /// Name of an expert's own tensor in GGUF files that do not join those of a layer ("{i}", "{e}").
  std::string_view gguf_single = {};
};

/// `pattern` with "{i}" as the number of the layer and "{e}" as that of the expert.
std::string numbered(std::string_view pattern, int64_t layer, int64_t expert = -1);
/// Hugging Face's name of the tensor; of a part of a fused one "<fused>.<part>".
std::string tensor_name(const TensorRule& rule, int64_t layer, int64_t expert = -1);
/// True if every expert of a layer has the rule's tensor.
bool is_of_experts(const TensorRule& rule);
/// How often the rule's tensor exists in a layer (outside of blocks: layer -1).
int64_t tensor_count(const TensorRule& rule, const ModelConfig& config, int64_t layer);

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
  /// A config.json with the same meaning, from GGUF metadata and tensors; null if `gguf_names` is
  /// empty. It may be one of another family, that shares the name in GGUF files (Mixtral: "llama").
  /// Sizes of the token table, tied heads and token ids are read for all families alike.
  nlohmann::json (*config_from_gguf)(GgufFields& g);
  /// GGUF files of this family hold q and k rows permuted (llama does, qwen2 does not).
  bool gguf_permutes_rope;
};

std::span<const Family* const> all_families();
/// Finds by "architectures" or "model_type". @throws Error(kUnsupported) with the list of names.
const Family& find_family(const nlohmann::json& config, std::string_view where);
const Family& find_gguf_family(const GgufFile& file);

}  // namespace twofold

// ModelConfig: everything the engine needs to know about a model's shape and operators, whatever
// family and file it came from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace twofold {

enum class NormKind { kLayerNorm, kRmsNorm };
enum class Activation { kGeluErf, kGeluTanh, kSilu, kRelu };
enum class PositionKind { kLearned, kRope, kAlibi };
enum class RopeScaling { kNone, kLinear, kLlama3, kYarn, kLongRope };
/// Where the norms of a block stand. Norms of what a branch adds are tensors of their own and go
/// with any of these.
enum class NormPlace {
  kBranch,         // x + f(norm(x)); a branch whose norm does not exist reads x itself
  kNormedStream,   // n + f(n), n = norm(x): BLOOM's apply_residual_connection_post_layernorm
  kAfterResidual,  // norm(x + f(x)): OPT 350M
};

/// Rope turns the numbers i and i + dims / 2 of a head together; files that store neighbours as
/// pairs are read with WeightView::rope_permuted_heads.
struct RopeConfig {
  double theta = 10000;
  int64_t dims = 0;  // of each head, from its start
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  int64_t original_context = 0;                      // llama3, yarn, longrope
  double beta_fast = 32, beta_slow = 1;              // yarn
  bool truncate = true;                              // yarn: whole numbers as bounds
  double attention_factor = 1;                       // yarn, longrope: of cosines and sines
  /// longrope: divisors of the dims / 2 frequencies, for sequences up to original_context and
  /// longer ones.
  std::vector<double> short_factors, long_factors;
};

/// Which rope turns the queries and keys of a layer.
enum class LayerRope { kMain, kLocal, kNone };

/// What differs between the layers of one model.
struct LayerConfig {
  int64_t window = 0;  // a token sees itself and the window - 1 before it; 0: all before it
  LayerRope rope = LayerRope::kMain;
  bool experts = false;  // the MLP is a mixture of experts
};

struct ModelConfig {
  std::string family;  // a row of all_families()
  int64_t vocab_size = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0,
          intermediate = 0;
  int64_t context = 0;          // most positions the model was made for
  int64_t embedding_width = 0;  // of the token table and the head; 0: hidden

  NormKind norm = NormKind::kRmsNorm;
  double norm_eps = 1e-5;
  NormPlace norm_place = NormPlace::kBranch;
  bool norm_weights = true;  // false: norms have neither weights nor biases
  bool final_norm = true;
  bool parallel_residual = false;  // x + attention(norm1(x)) + mlp(norm2(x))
  Activation activation = Activation::kSilu;
  bool gated_mlp = true;
  PositionKind position = PositionKind::kRope;
  int64_t position_offset = 0;  // learned: row of position 0
  RopeConfig rope;
  std::optional<RopeConfig> local_rope;    // of layers that say so
  double attention_scale = 0;              // factor of q k^T
  bool attention_scale_by_layer = false;   // divide it by the block's number, counted from 1
  double attention_softcap = 0;            // c > 0: scores s become c tanh(s / c)
  double logit_softcap = 0;                // the same for logits
  double embedding_scale = 1;              // factor of looked-up rows
  double residual_scale = 1;               // factor of what a branch adds
  double logit_scale = 1;                  // factor of logits
  bool tied_head = false;                  // output head = token embeddings
  std::vector<LayerConfig> layer_configs;  // [layers], or empty: all as LayerConfig{}

  int64_t experts = 0, experts_per_token = 0, expert_intermediate = 0;  // of layers that have them
  bool norm_expert_weights = true;  // the weights of a token's experts are scaled to sum to 1

  bool attention_bias = false, attention_out_bias = false, mlp_bias = false, norm_bias = false;
  bool transposed_linear = false;  // block matrices are stored [in, out]

  int32_t bos_id = -1;
  std::vector<int32_t> eos_ids;

  int64_t q_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
  int64_t table_width() const { return embedding_width > 0 ? embedding_width : hidden; }
  LayerConfig layer(int64_t i) const {
    return layer_configs.empty() ? LayerConfig{} : layer_configs[static_cast<size_t>(i)];
  }
};

}  // namespace twofold

// ModelConfig: everything the engine needs to know about a model's shape and operators, whatever
// family and file it came from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace twofold {

enum class NormKind { kLayerNorm, kRmsNorm };
enum class Activation { kGeluErf, kGeluTanh, kSilu, kRelu };
enum class PositionKind { kLearned, kRope };
enum class RopeScaling { kNone, kLinear, kLlama3 };

/// Rope turns the numbers i and i + dims / 2 of a head together; files that store neighbours as
/// pairs are read with WeightView::rope_permuted_heads.
struct RopeConfig {
  double theta = 10000;
  int64_t dims = 0;  // of each head, from its start
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  int64_t original_context = 0;                      // llama3
};

struct ModelConfig {
  std::string family;  // a row of all_families()
  int64_t vocab_size = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0,
          intermediate = 0;
  int64_t context = 0;  // most positions the model was made for

  NormKind norm = NormKind::kRmsNorm;
  double norm_eps = 1e-5;
  Activation activation = Activation::kSilu;
  bool gated_mlp = true;
  PositionKind position = PositionKind::kRope;
  RopeConfig rope;
  double attention_scale = 0;             // factor of q k^T
  bool attention_scale_by_layer = false;  // divide it by the block's number, counted from 1
  bool tied_head = false;                 // output head = token embeddings

  bool attention_bias = false, attention_out_bias = false, mlp_bias = false, norm_bias = false;
  bool transposed_linear = false;  // block matrices are stored [in, out]

  int32_t bos_id = -1;
  std::vector<int32_t> eos_ids;

  int64_t q_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
};

}  // namespace twofold

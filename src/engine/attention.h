// Causal attention of one sequence over its keys and values.
#pragma once

#include "base/context.h"
#include "model/config.h"
#include "tensor/tensor.h"

namespace twofold {

/// One sequence's part of a batch.
struct AttentionInput {
  Matrix<const float> q;       // [tokens, heads * head_dim]
  Matrix<const float> keys;    // [positions, kv_heads * head_dim], the last `tokens` are its own
  Matrix<const float> values;  // as keys
  Matrix<float> out;           // [tokens, heads * head_dim]
};

/// out = softmax(scale q k^T, causal) v per head; key-value head h / (heads / kv_heads) serves head
/// h. Work is cut into (sequence, head, block of queries); scores of one block exist at a time per
/// thread. The result does not depend on the number of threads.
void attention(std::span<const AttentionInput> sequences, const ModelConfig& config, double scale,
               const Context& ctx);

/// Rotates the first 2 x frequencies.size() numbers of each head of x [tokens, heads * head_dim],
/// tokens at positions first_position, ... `frequencies` as rope_frequencies gives them.
class RopeTable {
 public:
  RopeTable(std::span<const float> frequencies, int64_t first_position, int64_t positions);
  void apply(int64_t head_dim, Matrix<float> x, int64_t row_begin, int64_t row_end) const;

 private:
  int64_t pairs_;
  std::vector<float> cos_, sin_;  // [positions, pairs]
};

}  // namespace twofold

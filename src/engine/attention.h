// Causal attention of sequences over their keys and values, and the rotation of positions.
#pragma once

#include <span>
#include <vector>

#include "base/context.h"
#include "engine/kv_source.h"
#include "model/config.h"
#include "tensor/tensor.h"

namespace twofold {

/// Keys that are attended to at a time. Results depend on it by float rounding.
inline constexpr int64_t kKeyBlock = 512;

/// One sequence's part of a batch.
struct AttentionInput {
  Matrix<const float> q;         // [tokens, heads * head_dim]
  const KvSource* kv = nullptr;  // its last `tokens` positions are those of q
  Matrix<float> out;             // [tokens, heads * head_dim]
};

/// out = softmax(scale q k^T, causal) v per head; key-value head h / (heads / kv_heads) serves head
/// h, and heads that share keys read them together. Blocks of kKeyBlock keys are attended to one
/// after the other and joined in order (online softmax, arXiv:2205.14135, Sec. 3.1): scratch memory
/// does not grow with the sequence. The blocks of a few queries are work items of their own.
/// The result depends neither on the number of threads nor on the other sequences, and a row's not
/// on later positions, whatever they hold.
/// @param scale positive.
void attention(std::span<const AttentionInput> sequences, const ModelConfig& config, double scale,
               const Context& ctx);

/// Angles of rotary positions, a row per position.
class RopeTable {
 public:
  /// @param frequencies as rope_frequencies gives them.
  explicit RopeTable(std::span<const float> frequencies);
  /// Appends rows for positions first, first + 1, ... @return the row of the first one.
  int64_t add(int64_t first, int64_t count);
  /// Rotates the first 2 x frequencies.size() numbers of each head of x [tokens, heads * head_dim],
  /// token i by the angles of row first_row + i.
  void apply(int64_t head_dim, Matrix<float> x, int64_t first_row) const;

 private:
  std::vector<float> frequencies_;
  std::vector<float> cos_, sin_;  // [rows, frequencies]
};

}  // namespace twofold

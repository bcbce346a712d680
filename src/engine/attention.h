// Causal attention of sequences over their keys and values.
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

/// What the scores of a layer become before the softmax, and which keys a query sees.
struct AttentionRules {
  double scale = 1;    // of q k^T, positive
  double softcap = 0;  // c > 0: scaled scores s become c tanh(s / c)
  int64_t window = 0;  // > 0: a query sees its own position and the window - 1 before it
  std::span<const float> slopes = {};  // [heads] or empty: slope x (key - query) is added (ALiBi)
};

/// The slopes of ALiBi (arXiv:2108.12409, Sec. 3), [heads]: powers of 2^(-8/n), n the largest power
/// of two up to `heads`; beyond n heads, every other power of the slopes for 2 n heads.
std::vector<float> alibi_slopes(int64_t heads);

/// out = softmax(scores, causal) v per head; key-value head h / (heads / kv_heads) serves head h,
/// and heads that share keys read them together. Blocks of kKeyBlock keys are attended to one after
/// the other and joined in order (online softmax, arXiv:2205.14135, Sec. 3.1): scratch memory does
/// not grow with the sequence. The blocks of a few queries are work items of their own.
/// The result depends neither on the number of threads nor on the other sequences, and a row's not
/// on positions it does not see, whatever they hold.
void attention(std::span<const AttentionInput> sequences, const ModelConfig& config,
               const AttentionRules& rules, const Context& ctx);

}  // namespace twofold

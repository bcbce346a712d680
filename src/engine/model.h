// Model: weights bound to operators, ready to run. Immutable after loading; any number of sequences
// may run through it, one `forward` call at a time per thread pool.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/context.h"
#include "engine/kv_cache.h"
#include "model/model_files.h"
#include "tensor/row_source.h"
#include "tensor/tensor.h"

namespace twofold {

/// Sees the input of every linear of every block without touching the model code: calibration reads
/// second moments through it. `input` is the name in Slot::input; x [tokens, in].
using InputObserver = std::function<void(std::string_view input, Matrix<const float> x)>;

/// One sequence of a batch. With a cache, `ids` continue what the cache holds and are added to it;
/// without, they start at position 0 and nothing is kept.
struct SequenceInput {
  std::span<const int32_t> ids;
  KvCache* cache = nullptr;
};

class Model {
 public:
  ~Model();
  /// Binds an opened model. @throws as open_model, and Error(kCorruptFile) on bad packed data.
  static std::shared_ptr<const Model> load(ModelFiles files);
  static std::shared_ptr<const Model> load(const std::filesystem::path& path);

  const ModelConfig& config() const;
  const ModelFiles& files() const;
  /// Bytes of the matrices that one token reads: block linears and head.
  int64_t bytes_per_token() const;

  /// Runs the blocks. @return hidden states after the final norm, [sum of lengths, hidden],
  /// sequences one after the other. The result of a sequence does not depend on the others, except
  /// that a batch of fewer than kGemmMinRows tokens in all, or an expert that has fewer of them,
  /// adds its products in another order (float rounding only).
  /// @throws Error(kInvalidArgument) on an id outside the vocabulary, an empty sequence, a
  /// sequence beyond the model's context, or keys in a cache whose angles a longer or shorter
  /// sequence does not have (LongRoPE, KvCache::expect).
  AlignedBuffer<float> forward(std::span<const SequenceInput> batch, const Context& ctx,
                               const InputObserver& observer = {}) const;

  /// The end of `forward` without caches: `stream` [sequences x length, hidden], which enters block
  /// `first_block` (the number of blocks: none) at positions 0 to length - 1 of each sequence,
  /// becomes hidden states after the final norm.
  void forward_from(int first_block, Matrix<float> stream, int64_t length,
                    const Context& ctx) const;

  /// Logits of rows of hidden states: hidden [n, hidden] -> out [n, vocab]. Callers pass a few rows
  /// at a time, so that memory does not grow with context x vocabulary.
  void logits(Matrix<const float> hidden, Matrix<float> out, const Context& ctx) const;

 private:
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace twofold

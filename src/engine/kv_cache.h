// KvCache: keys and values of one sequence, float32, [layer][position][kv_heads * head_dim].
// Grows in steps of positions up to a fixed capacity.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "model/config.h"
#include "tensor/tensor.h"

namespace twofold {

class KvCache {
 public:
  /// @param capacity most positions it will hold. Memory is taken as positions are used.
  KvCache(const ModelConfig& config, int64_t capacity);
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  int64_t bytes() const;

  /// Rows for positions [0, positions): k and v [positions, kv_width] of one layer.
  Matrix<float> keys(int64_t layer, int64_t positions);
  Matrix<float> values(int64_t layer, int64_t positions);
  /// Makes room for `count` more positions. @throws Error(kInvalidArgument) beyond the capacity.
  void reserve(int64_t count);
  void advance(int64_t count) { length_ += count; }

 private:
  int64_t layers_, width_, capacity_;
  int64_t length_ = 0, allocated_ = 0;
  std::vector<AlignedBuffer<float>> keys_, values_;  // one buffer per layer
};

}  // namespace twofold

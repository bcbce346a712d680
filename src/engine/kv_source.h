// KvSource: keys and values of one layer of one sequence as attention reads them, whatever form
// they are stored in. Reading is thread-safe.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "tensor/gemm.h"
#include "tensor/tensor.h"

namespace twofold {

class KvSource {
 public:
  virtual ~KvSource() = default;
  /// Positions that can be read.
  virtual int64_t positions() const = 0;
  /// Keys and values are multiplied by the orthonormal Hadamard matrix of this side, block by block
  /// of each head; 1 if they are as the model made them. Divides the head's dimension.
  virtual int64_t rotation() const = 0;

  /// Keys at positions [begin, begin + kPanelCols) of key-value head `head`, transposed:
  /// [head_dim, kPanelCols], where they lie or in `scratch` (as large). `begin` is a multiple of
  /// kPanelCols; columns of positions beyond the last are anything.
  virtual const float* keys(int64_t head, int64_t begin, float* scratch, Isa isa) const = 0;
  /// Values at positions [begin, begin + count): [count, head_dim], where they lie or in `scratch`.
  virtual Matrix<const float> values(int64_t head, int64_t begin, int64_t count, float* scratch,
                                     Isa isa) const = 0;
};

/// Rows of floats that no cache keeps: k and v [positions, kv_heads * head_dim].
class KvRows : public KvSource {
 public:
  KvRows(Matrix<const float> k, Matrix<const float> v, int64_t head_dim)
      : k_(k), v_(v), head_dim_(head_dim) {}
  int64_t positions() const override { return k_.rows; }
  int64_t rotation() const override { return 1; }
  const float* keys(int64_t head, int64_t begin, float* scratch, Isa isa) const override;
  Matrix<const float> values(int64_t head, int64_t begin, int64_t count, float* scratch,
                             Isa isa) const override;

 private:
  Matrix<const float> k_, v_;
  int64_t head_dim_;
};

}  // namespace twofold

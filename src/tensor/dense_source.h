// RowSources over plain numbers in memory: float32, binary16 or bfloat16, row by row (DenseSource)
// or stored transposed (TransposedSource, GPT-2's Conv1D). They widen with the vector conversions
// of the instruction set given at construction. Immutable, thus thread-safe.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/cpu.h"
#include "tensor/ops_table.h"
#include "tensor/row_source.h"
#include "tensor/tensor.h"

namespace twofold {

/// W as stored: rows [rows, cols], one after the other.
class DenseSource final : public RowSource {
 public:
  /// Reads `weight` in place; the caller keeps it alive.
  DenseSource(Matrix<const float> weight, Isa isa);
  /// Reads a two-dimensional tensor in place and keeps it alive; `where` names it in errors.
  /// @throws Error(kInvalidArgument) unless it has two sides, is F32, F16 or BF16, is aligned to
  ///         its element and has the bytes that its shape asks for.
  DenseSource(Tensor weight, Isa isa, std::string_view where = "weight");

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  void decode_rows(int64_t begin, int64_t count, float* out, int64_t stride) const override;
  const DenseView* dense() const override { return &view_; }

 private:
  Tensor tensor_;
  const Ops& ops_;
  DenseView view_;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
};

/// W = S^T for a stored S [W.cols(), W.rows()].
class TransposedSource final : public RowSource {
 public:
  /// As for DenseSource; `stored` is S.
  TransposedSource(Matrix<const float> stored, Isa isa);
  TransposedSource(Tensor stored, Isa isa, std::string_view where = "weight");

  int64_t rows() const override { return stored_.cols(); }
  int64_t cols() const override { return stored_.rows(); }
  void decode_rows(int64_t begin, int64_t count, float* out, int64_t stride) const override;

 private:
  DenseSource stored_;
  const Ops& ops_;
};

}  // namespace twofold

// RowSource: a matrix of weights that can produce any of its rows as floats, whatever its stored
// form (dense, 16-bit, transposed, GGUF blocks, packed codes). The float GEMM reads weights only
// through it, a panel at a time, so no second copy of a model is ever made.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace twofold {

/// Rows of plain numbers in memory: row r starts `r * stride` elements after `data`.
struct DenseView {
  DType dtype = DType::kF32;  // F32, F16 or BF16
  const void* data = nullptr;
  int64_t stride = 0;  // elements between row starts
};

class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual int64_t rows() const = 0;  // outputs
  virtual int64_t cols() const = 0;  // inputs

  /// Writes rows [begin, begin + count) to `out`, [count, cols()], row-major with `stride`
  /// elements between rows. Thread-safe; never allocates more than a few rows of scratch.
  virtual void decode_rows(int64_t begin, int64_t count, float* out, int64_t stride) const = 0;

  /// Where the rows lie if they are plain numbers in memory, so that products of few rows can read
  /// them in place; null for every other form. `decode_rows` gives the same numbers.
  virtual const DenseView* dense() const { return nullptr; }
};

}  // namespace twofold

// Int8Activations: rows of activations rounded to int8, one float32 scale per block of columns:
// what integer kernels multiply by. Rounded once for all matrices that read one input.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/kernel.h"
#include "kernels/tables.h"
#include "tensor/tensor.h"

namespace twofold {

/// Columns of a block unless a matrix asks for less.
constexpr int64_t kActivationBlock = 128;

constexpr bool is_activation_block(int64_t columns) {
  return columns == 32 || columns == 64 || columns == kActivationBlock;
}

/// How rows of activations become int8.
struct ActivationRounding {
  int64_t block = kActivationBlock;  // columns that share a scale: 32, 64 or 128
  /// 2: what the first rounding leaves is rounded again, as a row of its own whose product is
  /// added: 16 bits for twice the multiplications.
  int64_t digits = 1;
  bool operator==(const ActivationRounding&) const = default;
};

constexpr bool is_activation_rounding(const ActivationRounding& rounding) {
  return is_activation_block(rounding.block) && (rounding.digits == 1 || rounding.digits == 2);
}

/// Whether groups of `group` columns and blocks of activations can be cut into common segments.
constexpr bool fits_activation_blocks(int64_t group) {
  return group % kActivationBlock == 0 ||
         (group % kSumColumns == 0 && kActivationBlock % group == 0);
}

class Int8Activations {
 public:
  /// Rounds x [rows, cols]: scale = largest magnitude of the block / 127, value = x / scale to
  /// nearest, ties to even. The result does not depend on `isa` or threads.
  /// @param isa   the best of the kernels that will read it: only AMX needs tiles.
  Int8Activations(Matrix<const float> x, const ActivationRounding& rounding, Isa isa,
                  ThreadPool& pool);

  /// Rows that kernels multiply: the digits of row r of x are rows digits r, digits r + 1.
  int64_t rows() const { return rows_; }
  const ActivationRounding& rounding() const { return rounding_; }

  /// The rows cut for weights with groups of `group` columns (their number of columns: no groups).
  /// Valid until the next call and as long as this object.
  Int8Rows cut(int64_t group);
  /// The numbers kernels compute with, out [rows of x, cols].
  void dequantize(Matrix<float> out) const;

 private:
  void round_rows(Matrix<const float> x, RoundRowFn round, int64_t begin, int64_t end);
  void round_row(const float* x, RoundRowFn round, int64_t row);
  void subtract_row(int64_t row, float* x) const;
  void copy_to_tile(int64_t begin, int64_t end);

  ActivationRounding rounding_;
  int64_t rows_, cols_, block_, blocks_, stride_, sums_per_row_;
  int64_t tile_rows_;             // 0: no tiles
  AlignedBuffer<int8_t> values_;  // [rows, stride]
  AlignedBuffer<int8_t> tiles_;   // as Int8Rows::tiles
  std::vector<float> scales_;     // [rows, blocks]
  std::vector<int32_t> sums_;     // [rows, columns / kSumColumns, rounded up]
  int64_t cut_for_ = 0;           // group of the arrays below
  std::vector<float> segment_scales_, group_sums_, tile_scales_, tile_sums_;
  std::vector<int32_t> segment_sums_;
  int64_t segment_ = 0, segments_ = 0;
};

}  // namespace twofold

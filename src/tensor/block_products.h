// The products that the frames of the GEMM (gemm.cpp) and of Gram matrices (gram.cpp) are filled
// with; private to this layer. The right side is packed in panels, the left side prepared a block
// at a time, blocks of depth at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/cpu.h"
#include "tensor/simd/tables.h"
#include "tensor/tensor.h"

namespace twofold {

/// How products are cut.
struct ProductCuts {
  int64_t panel_cols;    // N, rows of the weight in a panel
  int64_t row_unit;      // rows of x are divided at multiples of it
  int64_t chunk_rows;    // rows of a block of x, about; a multiple of row_unit
  int64_t depth;         // most columns of a block of x
  int64_t depth_unit;    // columns of blocks are multiples of it, but for the last one
  int64_t group_floats;  // panels of a group take at most as much, unless it is a single one
};

/// A block of x as products read it: row r, a multiple of row_unit, at data + r * stride.
struct LeftBlock {
  const float* data;
  int64_t stride;
  int64_t rows, depth;
};

/// Immutable, thus thread-safe. Buffers for `pack` and `prepare` lie on 64-byte boundaries.
class BlockProducts {
 public:
  explicit BlockProducts(const ProductCuts& product_cuts) : cuts(product_cuts) {}
  virtual ~BlockProducts() = default;

  /// For people.
  virtual std::string_view arithmetic() const = 0;

  /// Floats of a packed panel of depth `cols`; a panel of zero bits is one of zeros.
  virtual int64_t panel_floats(int64_t cols) const = 0;
  /// Packs w [some rows, cols] as rows [first, first + w.rows) of a panel; at most 16 rows, none of
  /// them across a multiple of 16. Rows come in order; what is between is zero if it was before.
  virtual void pack(Matrix<const float> w, int64_t first, float* panel) const = 0;
  /// Packs columns of x [depth, N or less] as a panel of that depth; further columns are zero.
  virtual void pack_columns(Matrix<const float> x, float* panel) const = 0;

  /// Whether blocks of x need not be prepared: LeftBlock is x itself.
  virtual bool reads_in_place(Matrix<const float> x) const = 0;
  /// Floats from row to row of a prepared block of `depth` columns.
  virtual int64_t left_stride(int64_t depth) const = 0;
  /// Prepares x [rows, depth] as left [rows up to a multiple of row_unit][left_stride].
  virtual void prepare(Matrix<const float> x, float* left) const = 0;

  /// y [m, n] (+)= left [m, depth] times columns [k, k + depth) of panels [ceil(n / N)] of depth
  /// `cols`.
  virtual void multiply(const LeftBlock& left, const float* panels, int64_t k, int64_t cols,
                        Matrix<float> y, bool accumulate) const = 0;

  const ProductCuts cuts;
};

/// Sums in registers (simd/gemm_body.h): panels are [K, N] floats, x is read in place.
std::unique_ptr<const BlockProducts> register_products(const GemmTiles& tiles);

/// Sums in the tile unit, of numbers split into parts (simd/amx/split.cpp): a panel begins with the
/// numbers of parts of its two tiles, then follow its steps.
std::unique_ptr<const BlockProducts> split_products(const SplitTiles& tiles);

/// The products of `isa`; the CPU must have it.
std::unique_ptr<const BlockProducts> block_products(Isa isa);

/// The first `count` columns of y from `begin` on, or those there are.
inline Matrix<float> columns_of(Matrix<float> y, int64_t begin, int64_t count) {
  return {y.data + begin, y.rows, count < y.cols - begin ? count : y.cols - begin, y.stride};
}

/// Columns per block of depth: even blocks of at most `most`, multiples of `unit`.
int64_t block_depth(int64_t cols, int64_t most, int64_t unit);

}  // namespace twofold

// The constant tables that the files under tensor/simd/ export, one pair per instruction set. Plain
// data only: this header is included by files compiled for wider vectors than the baseline.
#pragma once

#include <cstdint>

#include "tensor/ops_table.h"

namespace twofold {

/// Tallest register block of any instruction set.
inline constexpr int64_t kMaxTileRows = 14;
/// Widest register block of any instruction set.
inline constexpr int64_t kMaxTileCols = 32;
/// The same for float64; every other width divides it.
inline constexpr int64_t kMaxTileCols64 = 16;

/// The register-blocked kernels of the float GEMM.
struct GemmTiles {
  int64_t rows;  // R, height of the tallest tile
  int64_t cols;  // N, width of every tile and of a packed panel

  /// tile[r]: c (+)= a b for r rows, 1 <= r <= rows. a [r, k] with stride a_stride, b [k, cols]
  /// with stride b_stride, c [r, cols] with stride c_stride. Each output is one chain over k, so it
  /// does not depend on r. With `accumulate` the finished sum is added to c.
  void (*tile[kMaxTileRows + 1])(const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                                 int64_t k, float* c, int64_t c_stride, bool accumulate);

  /// to[c * to_stride + r] = from[r * from_stride + c] for r < rows, c < cols.
  void (*transpose)(const float* from, int64_t from_stride, int64_t rows, int64_t cols, float* to,
                    int64_t to_stride);
};

/// The same for float64.
struct GemmTiles64 {
  int64_t rows, cols;
  void (*tile[kMaxTileRows + 1])(const double* a, int64_t a_stride, const double* b,
                                 int64_t b_stride, int64_t k, double* c, int64_t c_stride,
                                 bool accumulate);

  /// y[j] += sum of factors[k] b[rows[k] * b_stride + j] for j < n, each one chain over k < count.
  void (*add_rows)(const double* b, int64_t b_stride, const int32_t* rows, const double* factors,
                   int64_t count, double* y, int64_t n);
};

/// Products of floats on a tile unit that multiplies bfloat16: each number is split into three of
/// them, x = x1 + x2 + x3. Split numbers lie in steps of 32 columns: three parts one after the
/// other, each of two tiles of 16 rows. Within a tile two columns 16 apart are neighbours, of the
/// left side row by row, of the right side column by column.
struct SplitTiles {
  /// Rows of x or of W of a block, and columns of a step.
  static constexpr int64_t kSide = 32;
  /// Rows of a tile.
  static constexpr int64_t kTileRows = 16;
  /// Floats that the parts of a step take, 32 x 32 numbers.
  static constexpr int64_t kStepFloats = kSide * kSide * 3 / 2;

  /// left [steps][kStepFloats] = x [rows, depth], rows <= kSide; further columns are zero, and so
  /// are further rows of a tile that has any.
  void (*split_left)(const float* x, int64_t x_stride, int64_t rows, int64_t depth, float* left);

  /// A tile of right [steps][kStepFloats] = w [rows, depth], rows <= kTileRows; further rows and
  /// columns are zero. Returns how many parts of the numbers are not all zero, at least 1.
  int (*split_right)(const float* w, int64_t w_stride, int64_t rows, int64_t depth, float* right);

  /// The same of the columns of x [depth, cols], cols <= kTileRows.
  void (*split_columns)(const float* x, int64_t x_stride, int64_t depth, int64_t cols,
                        float* right);

  /// Prepares the tile unit of the calling thread for `multiply`, and gives it back.
  void (*begin)();
  void (*end)();

  /// y [rows, cols] (+)= left right^T: left [rows / kSide, rounded up][steps][kStepFloats] with
  /// left_stride floats between blocks of rows, right [steps][kStepFloats] with `parts` parts that
  /// are not zero, cols <= kSide. Meanwhile asks for as many floats of `ahead`, if that is not
  /// null. Each output is one chain over the steps, which begins with y if `accumulate`.
  void (*multiply)(const float* left, int64_t left_stride, int64_t rows, const float* right,
                   int64_t steps, int parts, float* y, int64_t y_stride, int64_t cols,
                   bool accumulate, const float* ahead);
};

extern const Ops kOpsScalar;
extern const Ops kOpsAvx2;
extern const Ops kOpsAvx512;

extern const GemmTiles kGemmTilesScalar;
extern const GemmTiles kGemmTilesAvx2;
extern const GemmTiles kGemmTilesAvx512;

extern const SplitTiles kSplitTilesAmx;

extern const GemmTiles64 kGemmTiles64Scalar;
extern const GemmTiles64 kGemmTiles64Avx2;
extern const GemmTiles64 kGemmTiles64Avx512;

}  // namespace twofold

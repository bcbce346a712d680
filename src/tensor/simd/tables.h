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
};

extern const Ops kOpsScalar;
extern const Ops kOpsAvx2;
extern const Ops kOpsAvx512;

extern const GemmTiles kGemmTilesScalar;
extern const GemmTiles kGemmTilesAvx2;
extern const GemmTiles kGemmTilesAvx512;

extern const GemmTiles64 kGemmTiles64Scalar;
extern const GemmTiles64 kGemmTiles64Avx2;
extern const GemmTiles64 kGemmTiles64Avx512;

}  // namespace twofold

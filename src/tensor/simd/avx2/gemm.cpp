#include "tensor/simd/avx2/vec.h"
#include "tensor/simd/gemm_body.h"
#include "tensor/simd/tables.h"

namespace twofold {
namespace {

constexpr int kVectors = 2;

// Transposes 8 x 8 numbers: three rounds of interleaving pairs of 1, 2 and 4 numbers.
inline void transpose8(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  Vec r[8], t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = load(from + i * from_stride);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    store(to + i * to_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    store(to + (i + 4) * to_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t cols, float* to,
               int64_t to_stride) {
  for (int64_t r = 0; r < rows; r += kLanes) {
    for (int64_t c = 0; c < cols; c += kLanes) {
      if (r + kLanes <= rows && c + kLanes <= cols) {
        transpose8(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
        continue;
      }
      for (int64_t i = r; i < r + kLanes && i < rows; ++i) {
        for (int64_t j = c; j < c + kLanes && j < cols; ++j) {
          to[j * to_stride + i] = from[i * from_stride + j];
        }
      }
    }
  }
}

}  // namespace

const GemmTiles kGemmTilesAvx2 = {
    .rows = 6,
    .cols = kVectors * kLanes,
    .tile = {nullptr, tile<1, kVectors>, tile<2, kVectors>, tile<3, kVectors>, tile<4, kVectors>,
             tile<5, kVectors>, tile<6, kVectors>},
    .transpose = transpose,
};

}  // namespace twofold

#include "tensor/simd/avx512/vec.h"
#include "tensor/simd/gemm_body.h"
#include "tensor/simd/tables.h"

namespace twofold {
namespace {

constexpr int kVectors = 2;

// Transposes 16 x 16 numbers: four rounds of interleaving pairs of 1, 2, 4 and 8 numbers.
inline void transpose16(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  Vec r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = load(from + i * from_stride);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    store(to + i * to_stride, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
    store(to + (i + 8) * to_stride, _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd));
    store(to + (i + 4) * to_stride, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88));
    store(to + (i + 12) * to_stride, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd));
  }
}

void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t cols, float* to,
               int64_t to_stride) {
  for (int64_t r = 0; r < rows; r += kLanes) {
    for (int64_t c = 0; c < cols; c += kLanes) {
      if (r + kLanes <= rows && c + kLanes <= cols) {
        transpose16(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
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

const GemmTiles kGemmTilesAvx512 = {
    .rows = 14,
    .cols = kVectors * kLanes,
    .tile = {nullptr, tile<1, kVectors>, tile<2, kVectors>, tile<3, kVectors>, tile<4, kVectors>,
             tile<5, kVectors>, tile<6, kVectors>, tile<7, kVectors>, tile<8, kVectors>,
             tile<9, kVectors>, tile<10, kVectors>, tile<11, kVectors>, tile<12, kVectors>,
             tile<13, kVectors>, tile<14, kVectors>},
    .transpose = transpose,
};

}  // namespace twofold

#include "tensor/simd/avx512/transpose16.h"
#include "tensor/simd/gemm_body.h"
#include "tensor/simd/tables.h"

namespace twofold {
namespace {

constexpr int kVectors = 2;

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

// The portable register block: four floats in the compiler's own vector type, which every 64-bit
// machine has as its baseline; multiplication and addition round separately.
#include <cstdint>

#include "tensor/simd/tables.h"

namespace twofold {
namespace {

using Number = float;
using Vec = float __attribute__((vector_size(16)));
constexpr int64_t kLanes = 4;
constexpr int kVectors = 2;

inline Vec set1(float x) { return Vec{x, x, x, x}; }
inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
inline void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof(v)); }
inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }

}  // namespace
}  // namespace twofold

#include "tensor/simd/gemm_body.h"

namespace twofold {
namespace {

void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t cols, float* to,
               int64_t to_stride) {
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = 0; r < rows; ++r) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

}  // namespace

const GemmTiles kGemmTilesScalar = {
    .rows = 4,
    .cols = kVectors * kLanes,
    .tile = {nullptr, tile<1, kVectors>, tile<2, kVectors>, tile<3, kVectors>, tile<4, kVectors>},
    .transpose = transpose,
};

}  // namespace twofold

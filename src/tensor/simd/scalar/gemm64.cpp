// The portable register block: two doubles in the compiler's own vector type, which every 64-bit
// machine has as its baseline; multiplication and addition round separately.
#include <cstdint>

#include "tensor/simd/tables.h"

namespace twofold {
namespace {

using Number = double;
using Vec = double __attribute__((vector_size(16)));
constexpr int64_t kLanes = 2;
constexpr int kVectors = 2;

inline Vec set1(double x) { return Vec{x, x}; }
inline Vec load(const double* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
inline void store(double* p, Vec v) { __builtin_memcpy(p, &v, sizeof(v)); }
inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }

}  // namespace
}  // namespace twofold

#include "tensor/simd/add_rows_body.h"
#include "tensor/simd/gemm_body.h"

namespace twofold {

const GemmTiles64 kGemmTiles64Scalar = {
    .rows = 4,
    .cols = kVectors * kLanes,
    .tile = {nullptr, tile<1, kVectors>, tile<2, kVectors>, tile<3, kVectors>, tile<4, kVectors>},
    .add_rows = add_rows,
};

}  // namespace twofold

#include <immintrin.h>

#include <cstdint>

#include "tensor/simd/tables.h"

namespace twofold {
namespace {

using Number = double;
using Vec = __m512d;
constexpr int64_t kLanes = 8;
constexpr int kVectors = 2;

inline Vec set1(double x) { return _mm512_set1_pd(x); }
inline Vec load(const double* p) { return _mm512_loadu_pd(p); }
inline void store(double* p, Vec v) { _mm512_storeu_pd(p, v); }
inline Vec add(Vec a, Vec b) { return _mm512_add_pd(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_pd(a, b, c); }

}  // namespace
}  // namespace twofold

#include "tensor/simd/add_rows_body.h"
#include "tensor/simd/gemm_body.h"

namespace twofold {

const GemmTiles64 kGemmTiles64Avx512 = {
    .rows = 14,
    .cols = kVectors * kLanes,
    .tile = {nullptr, tile<1, kVectors>, tile<2, kVectors>, tile<3, kVectors>, tile<4, kVectors>,
             tile<5, kVectors>, tile<6, kVectors>, tile<7, kVectors>, tile<8, kVectors>,
             tile<9, kVectors>, tile<10, kVectors>, tile<11, kVectors>, tile<12, kVectors>,
             tile<13, kVectors>, tile<14, kVectors>},
    .add_rows = add_rows,
};

}  // namespace twofold

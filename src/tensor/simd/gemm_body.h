// The register block of the matrix products, written once over a vocabulary that the including file
// brings along: Number (float or double), Vec of kLanes Numbers, set1, load, store, add, fma.
// Internal linkage: every instruction set and type has its own copy.
#pragma once

#include <cstdint>

#include "tensor/simd/tables.h"

namespace twofold {
namespace {

// c [R, V kLanes] (+)= a [R, k] b [k, V kLanes]: R V sums stay in registers; each step loads V
// vectors of b and R single numbers of a. The rows of a are read in place, in row order, so a needs
// no packing; two row pointers and multiples of the stride reach up to 14 rows.
template <int R, int V>
void tile(const Number* a, int64_t a_stride, const Number* b, int64_t b_stride, int64_t k,
          Number* c, int64_t c_stride, bool accumulate) {
  constexpr int kHalf = R <= 7 ? R : 7;
  Vec sums[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[r][v] = set1(0);
    __builtin_prefetch(c + r * c_stride, 1);
    __builtin_prefetch(c + r * c_stride + V * kLanes - 1, 1);
  }
  const Number* upper = a;
  const Number* lower = R > kHalf ? a + kHalf * a_stride : a;
#pragma GCC unroll 4
  for (int64_t i = 0; i < k; ++i) {
    Vec right[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) right[v] = load(b + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec left = set1(r < kHalf ? upper[r * a_stride] : lower[(r - kHalf) * a_stride]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = fma(left, right[v], sums[r][v]);
    }
    b += b_stride;
    ++upper;
    ++lower;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      Number* out = c + r * c_stride + v * kLanes;
      store(out, accumulate ? add(load(out), sums[r][v]) : sums[r][v]);
    }
  }
}

}  // namespace
}  // namespace twofold

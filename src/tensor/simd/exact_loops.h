// Plain loops that the compiler turns into vectors of the including file's instruction set. No sum
// is reordered and nothing is fused, so every instruction set gives the same bits. Internal
// linkage: every instruction set has its own copy.
#pragma once

#include <cstdint>

#include "tensor/ops_table.h"

namespace twofold {
namespace {

/// Integers in the order of the floats whose bits they are made of, and back.
inline int32_t ordered(int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); }

/// Compares integers: loops over those become vectors, minima of floats do not.
inline void extent(const float* x, int64_t n, float* lo, float* hi) {
  int32_t least = INT32_MAX, most = INT32_MIN;
  for (int64_t i = 0; i < n; ++i) {
    int32_t bits;
    __builtin_memcpy(&bits, x + i, sizeof(bits));
    const int32_t at = ordered(bits);
    least = at < least ? at : least;
    most = at > most ? at : most;
  }
  least = ordered(least);
  most = ordered(most);
  __builtin_memcpy(lo, &least, sizeof(least));
  __builtin_memcpy(hi, &most, sizeof(most));
}

/// Clamped before it is rounded, so that every number is small enough to be rounded by an addition.
inline void round_affine(const float* x, int64_t n, const AffineRounding& by, uint16_t* codes,
                         float* values) {
  constexpr float kOnes = 0x1.8p23f;  // floats around it are 1 apart
  const AffineRounding p = by;
  for (int64_t i = 0; i < n; ++i) {
    const float steps = x[i] / p.scale + p.before;
    const float raised = steps < p.lo ? p.lo : steps;
    const float inside = p.hi < raised ? p.hi : raised;
    const float code = (inside + kOnes) - kOnes + p.after;
    codes[i] = static_cast<uint16_t>(static_cast<int32_t>(code));
    values[i] = p.scale * (code - p.zero);
  }
}

inline void add_squares(const float* x, const float* y, int64_t n, SquareSums* sums) {
  constexpr int64_t kEach = SquareSums::kLanes;
  typedef float Floats __attribute__((vector_size(kEach * sizeof(float))));
  typedef double Doubles __attribute__((vector_size(kEach * sizeof(double))));
  Doubles squares, distances;
  __builtin_memcpy(&squares, sums->x, sizeof(squares));
  __builtin_memcpy(&distances, sums->distance, sizeof(distances));
  int64_t i = 0;
  for (; i + kEach <= n; i += kEach) {
    Floats xs, ys;
    __builtin_memcpy(&xs, x + i, sizeof(xs));
    __builtin_memcpy(&ys, y + i, sizeof(ys));
    const Doubles wide = __builtin_convertvector(xs, Doubles);
    const Doubles distance = __builtin_convertvector(ys, Doubles) - wide;
    squares += wide * wide;
    distances += distance * distance;
  }
  __builtin_memcpy(sums->x, &squares, sizeof(squares));
  __builtin_memcpy(sums->distance, &distances, sizeof(distances));
  for (; i < n; ++i) {
    const double wide = x[i], distance = static_cast<double>(y[i]) - wide;
    sums->x[0] += wide * wide;
    sums->distance[0] += distance * distance;
  }
}

}  // namespace
}  // namespace twofold

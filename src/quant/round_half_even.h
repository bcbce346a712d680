// Rounding to whole numbers, ties to even, as plain arithmetic: equal to std::nearbyint in the
// default mode, but inlined and vectorized without any instruction set beyond the baseline.
#pragma once

#include <cmath>

namespace twofold {

inline float round_half_even(float x) {
  constexpr float kWhole = 0x1p23f;  // from here on every float is whole
  const float magnitude = std::fabs(x);
  const float rounded = magnitude < kWhole ? (magnitude + kWhole) - kWhole : magnitude;
  return std::copysign(rounded, x);
}

}  // namespace twofold

// How far float products may be from the true ones, for the tests of this layer.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "base/cpu.h"

namespace twofold {

/// What a sum of `terms` products x w, with a number in place before, is made of.
struct ProductSum {
  double value = 0, magnitude = 0;  // the sum, and that of |x w|
  double sides = 0;                 // sum of |x| + |w|
  int64_t terms = 0;

  void start(double before) {
    value += before;
    magnitude += std::abs(before);
  }
  void add(double x, double w) {
    value += x * w;
    magnitude += std::abs(x * w);
    sides += std::abs(x) + std::abs(w);
    ++terms;
  }
};

/// A float sum of K products, in any order and with or without fused additions, is off by at most
/// (K + 1) eps sum |x w| to first order; adding to y rounds once more. Twice that covers both.
/// Numbers below the smallest normal one are rounded to a multiple of 2^-149.
inline double register_bound(const ProductSum& sum) {
  const double terms = static_cast<double>(sum.terms);
  return 2.0 * (terms + 1) * (FLT_EPSILON * sum.magnitude + 0x1p-149);
}

/// Products of split numbers; derived in src/tensor/simd/amx/split.cpp. 1.01 covers what is not of
/// first order for K up to a million; the float64 sums compared with are off by far less.
inline double split_bound(const ProductSum& sum) {
  const double products = 6.0 * std::ceil(static_cast<double>(sum.terms) / 32);
  const double relative = (25 + products) * 0x1p-24;
  return 1.01 * relative * sum.magnitude + 0x1p-126 * (sum.sides + 34 * products);
}

/// Sums of at least kGemmMinRows rows at a time.
inline double product_bound(Isa isa, const ProductSum& sum) {
  return isa == Isa::kAmx ? split_bound(sum) : register_bound(sum);
}

}  // namespace twofold

// The inference a power-of-two grid was proposed for: integer activations, shifts and additions, no
// multiplication in the inner loop (Elgenedy, PoT, arXiv:2506.00315, Sec. 4; docs/methods/pot.md).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/quantized_matrix.h"

namespace twofold {

/// X[j] = round(x[j] 2^fraction_bits), half to even, saturating at +-2^31.
std::vector<int64_t> to_fixed_point(std::span<const float> x, int fraction_bits);

/// A[r] = sum over j of sign_rj (X[j] << e_rj), weights with level 0 left out; 64-bit sums.
/// @param q a table scheme whose levels are 0 or signed powers of two, without offset.
/// Exact: fixed-point numbers are at most 2^31, so sums of n columns stay below 2^(31 + e) n, where
/// e is the largest exponent; 64 bits hold e = 7 (the published GPT-2 setting) up to 2^25 columns.
/// @throws Error(kInvalidArgument) if some level is no power of two, or if the sum of |X[j]| 2^e
/// reaches 2^63, so that a row could overflow.
std::vector<int64_t> pot_shift_add(const QuantizedMatrix& q, std::span<const int64_t> fixed);

/// y[r] = A[r] scale_r 2^(level_exponent - fraction_bits). Scales shared by matrix or row.
void pot_matvec(const QuantizedMatrix& q, std::span<const float> x, int fraction_bits,
                std::span<float> y);

}  // namespace twofold

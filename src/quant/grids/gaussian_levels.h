// The levels that represent a standard normal number with the least squared error (Lloyd, Max).
#pragma once

#include <vector>

#include "quant/quantized_matrix.h"

namespace twofold {

/// The 2^bits levels, symmetric, increasing; bits 2 to 6. Made once, then shared.
const std::vector<double>& gaussian_levels(int bits);

/// How they are stored: int8 is off by at most 1/254 of the largest level, which
/// up to 4 bits is small beside the distance of levels; more bits need int16.
constexpr LevelType gaussian_level_type(int bits) {
  return bits <= 4 ? LevelType::kInt8 : LevelType::kInt16;
}
constexpr int gaussian_level_exponent(int bits) { return bits <= 4 ? -7 : -15; }
constexpr int gaussian_largest_level(int bits) { return bits <= 4 ? 127 : 32767; }

}  // namespace twofold

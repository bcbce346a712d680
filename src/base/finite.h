// Whether numbers are finite, many at a time.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace twofold {

/// Without a branch per number, so that the loop becomes vectors.
inline bool all_finite(std::span<const float> numbers) {
  constexpr uint32_t kExponent = 0x7f800000u;
  uint32_t bad = 0;
  for (float x : numbers) bad |= (std::bit_cast<uint32_t>(x) & kExponent) == kExponent ? 1u : 0u;
  return bad == 0;
}

}  // namespace twofold

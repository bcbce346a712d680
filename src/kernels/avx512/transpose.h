// Internal to kernels/avx512, kernels/avx512vnni and kernels/amx: units of one or two bytes of two
// vectors exchanged. Needs AVX-512 BW.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

/// Every second unit of kUnit bytes.
template <int kUnit>
constexpr uint64_t kOddUnits = kUnit == 1 ? 0xAAAAAAAAAAAAAAAA : 0xCCCCCCCCCCCCCCCC;

/// The bytes kBy further on, in each 128 bits.
template <int kBy>
[[gnu::always_inline]] static inline __m512i from_bytes() {
  const __m128i own = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_broadcast_i32x4(_mm_add_epi8(own, _mm_set1_epi8(kBy)));
}

/// In place of the odd units of a the even ones of b.
template <int kUnit>
[[gnu::always_inline]] static inline __m512i even_then_even(__m512i a, __m512i b) {
  return _mm512_mask_shuffle_epi8(a, kOddUnits<kUnit>, b, from_bytes<-kUnit>());
}
/// In place of the even units of b the odd ones of a.
template <int kUnit>
[[gnu::always_inline]] static inline __m512i odd_then_odd(__m512i a, __m512i b) {
  return _mm512_mask_shuffle_epi8(b, ~kOddUnits<kUnit>, a, from_bytes<kUnit>());
}

}  // namespace

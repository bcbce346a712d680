// A line of packed weights in a register, 16 rows x 4 columns of bytes: the vocabulary that the
// files of kernels/pairs are written in. Internal linkage; only for files compiled for AVX-512 F,
// BW, DQ and VL.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/avx512/transpose.h"

namespace {

#define TWOFOLD_INLINE [[gnu::always_inline]] static inline
#define TWOFOLD_KERNEL_ISA twofold::Isa::kAvx512
#define TWOFOLD_KERNEL_SUFFIX "-avx512"

using Ints = __m512i;
using Floats = __m512;
constexpr int kVectorRows = 16;
constexpr int kVectorBytes = 64;
/// Rows of activations of a register block: two sums each, one vector of weights, 32 registers.
constexpr int kGemmRows = 12;

TWOFOLD_INLINE Ints load_bytes(const void* from) { return _mm512_loadu_si512(from); }
TWOFOLD_INLINE void store_bytes(void* to, Ints v) { _mm512_storeu_si512(to, v); }
TWOFOLD_INLINE Ints set_8(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
TWOFOLD_INLINE Ints set_16(int x) { return _mm512_set1_epi16(static_cast<int16_t>(x)); }
TWOFOLD_INLINE Ints set_32(int32_t x) { return _mm512_set1_epi32(x); }
TWOFOLD_INLINE Ints zero_ints() { return _mm512_setzero_si512(); }
TWOFOLD_INLINE Ints and_bits(Ints a, Ints b) { return _mm512_and_si512(a, b); }
TWOFOLD_INLINE Ints or_bits(Ints a, Ints b) { return _mm512_or_si512(a, b); }
TWOFOLD_INLINE Ints xor_bits(Ints a, Ints b) { return _mm512_xor_si512(a, b); }
TWOFOLD_INLINE Ints xor_bits(Ints a, Ints b, Ints c) {
  return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}
TWOFOLD_INLINE Ints right_16(Ints a, int by) {
  return _mm512_srli_epi16(a, static_cast<unsigned>(by));
}
TWOFOLD_INLINE Ints left_16(Ints a, int by) {
  return _mm512_slli_epi16(a, static_cast<unsigned>(by));
}
TWOFOLD_INLINE Ints right_32(Ints a, int by) {
  return _mm512_srli_epi32(a, static_cast<unsigned>(by));
}
TWOFOLD_INLINE Ints left_32(Ints a, int by) {
  return _mm512_slli_epi32(a, static_cast<unsigned>(by));
}
TWOFOLD_INLINE Ints arithmetic_right_16(Ints a, int by) {
  return _mm512_srai_epi16(a, static_cast<unsigned>(by));
}
TWOFOLD_INLINE Ints arithmetic_right_32(Ints a, int by) {
  return _mm512_srai_epi32(a, static_cast<unsigned>(by));
}
TWOFOLD_INLINE Ints add_16(Ints a, Ints b) { return _mm512_add_epi16(a, b); }
TWOFOLD_INLINE Ints add_32(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
TWOFOLD_INLINE Ints subtract_saturated_8(Ints a, Ints b) { return _mm512_subs_epi8(a, b); }
/// Sums of two products: of unsigned by signed bytes, which must fit 16 bits; of 16-bit integers.
TWOFOLD_INLINE Ints multiply_bytes(Ints u, Ints x) { return _mm512_maddubs_epi16(u, x); }
TWOFOLD_INLINE Ints multiply_16(Ints a, Ints b) { return _mm512_madd_epi16(a, b); }

/// Bytes of `table` in its own 128-bit lane; 0 where an index is negative.
TWOFOLD_INLINE Ints look_up(Ints table, Ints index) { return _mm512_shuffle_epi8(table, index); }
TWOFOLD_INLINE __m128i load_lane(const uint8_t* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
/// 16 bytes for each lane, from places `stride` bytes apart.
TWOFOLD_INLINE Ints load_lanes(const uint8_t* from, int stride) {
  __m512i v = _mm512_castsi128_si512(load_lane(from));
  v = _mm512_inserti32x4(v, load_lane(from + stride), 1);
  v = _mm512_inserti32x4(v, load_lane(from + 2 * stride), 2);
  return _mm512_inserti32x4(v, load_lane(from + 3 * stride), 3);
}
/// b in the rows of each lane whose bit is set in kRows, else a.
template <int kRows>
TWOFOLD_INLINE Ints blend_rows(Ints a, Ints b) {
  return _mm512_mask_blend_epi32(static_cast<__mmask16>(kRows * 0x1111), a, b);
}
/// The lanes of the next rows of a line, circularly. A vector is a whole line.
TWOFOLD_INLINE Ints load_next_rows(const uint8_t* line, int /*after*/) {
  const Ints rows = load_bytes(line);
  return _mm512_alignr_epi32(rows, rows, 1);
}
/// Bytes 4 j to 4 j + 3 of each 32 become the bytes j, j + 8, j + 16 and j + 24.
TWOFOLD_INLINE Ints every_eighth(Ints v) {
  const __m128i bytes = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  const __m128i words = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
  v = look_up(v, _mm512_broadcast_i32x4(bytes));
  return look_up(_mm512_permutex_epi64(v, 0xD8), _mm512_broadcast_i32x4(words));
}
/// 0, 1, 2, 3 in the four 32-bit parts of each lane: the row within it.
TWOFOLD_INLINE Ints rows_of_lanes() {
  return _mm512_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
}
TWOFOLD_INLINE Ints multiply_low_32(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }

TWOFOLD_INLINE Floats set_float(float x) { return _mm512_set1_ps(x); }
TWOFOLD_INLINE Floats zero_floats() { return _mm512_setzero_ps(); }
TWOFOLD_INLINE Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
TWOFOLD_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
  return _mm512_fmadd_ps(a, b, c);
}
TWOFOLD_INLINE Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
TWOFOLD_INLINE Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
TWOFOLD_INLINE Floats load_halfs(const uint8_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
TWOFOLD_INLINE Floats load_unsigned_bytes(const uint8_t* from) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
/// The first n numbers, all if n is at least kVectorRows, none if it is not positive.
TWOFOLD_INLINE void store_first(float* to, Floats v, int64_t n) {
  if (n <= 0) return;
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>(n >= 16 ? 0xFFFF : (1 << n) - 1), v);
}

}  // namespace

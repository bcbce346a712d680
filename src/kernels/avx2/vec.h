// Half a line of packed weights in a register, 8 rows x 4 columns of bytes: the vocabulary that the
// files of kernels/pairs are written in. Internal linkage; only for files compiled for AVX2, FMA
// and F16C.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

#define TWOFOLD_INLINE [[gnu::always_inline]] static inline
#define TWOFOLD_KERNEL_ISA twofold::Isa::kAvx2
#define TWOFOLD_KERNEL_SUFFIX "-avx2"

using Ints = __m256i;
using Floats = __m256;
constexpr int kVectorRows = 8;
constexpr int kVectorBytes = 32;
/// Rows of activations of a register block: two sums each, one vector of weights, 16 registers.
constexpr int kGemmRows = 6;

TWOFOLD_INLINE Ints load_bytes(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}
TWOFOLD_INLINE void store_bytes(void* to, Ints v) {
  _mm256_storeu_si256(static_cast<__m256i*>(to), v);
}
TWOFOLD_INLINE Ints set_8(int x) { return _mm256_set1_epi8(static_cast<char>(x)); }
TWOFOLD_INLINE Ints set_16(int x) { return _mm256_set1_epi16(static_cast<int16_t>(x)); }
TWOFOLD_INLINE Ints set_32(int32_t x) { return _mm256_set1_epi32(x); }
TWOFOLD_INLINE Ints zero_ints() { return _mm256_setzero_si256(); }
TWOFOLD_INLINE Ints and_bits(Ints a, Ints b) { return _mm256_and_si256(a, b); }
TWOFOLD_INLINE Ints or_bits(Ints a, Ints b) { return _mm256_or_si256(a, b); }
TWOFOLD_INLINE Ints xor_bits(Ints a, Ints b) { return _mm256_xor_si256(a, b); }
TWOFOLD_INLINE Ints xor_bits(Ints a, Ints b, Ints c) { return xor_bits(xor_bits(a, b), c); }
TWOFOLD_INLINE Ints right_16(Ints a, int by) { return _mm256_srli_epi16(a, by); }
TWOFOLD_INLINE Ints left_16(Ints a, int by) { return _mm256_slli_epi16(a, by); }
TWOFOLD_INLINE Ints right_32(Ints a, int by) { return _mm256_srli_epi32(a, by); }
TWOFOLD_INLINE Ints left_32(Ints a, int by) { return _mm256_slli_epi32(a, by); }
TWOFOLD_INLINE Ints arithmetic_right_16(Ints a, int by) { return _mm256_srai_epi16(a, by); }
TWOFOLD_INLINE Ints arithmetic_right_32(Ints a, int by) { return _mm256_srai_epi32(a, by); }
TWOFOLD_INLINE Ints add_16(Ints a, Ints b) { return _mm256_add_epi16(a, b); }
TWOFOLD_INLINE Ints add_32(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
TWOFOLD_INLINE Ints subtract_saturated_8(Ints a, Ints b) { return _mm256_subs_epi8(a, b); }
/// Sums of two products: of unsigned by signed bytes, which must fit 16 bits; of 16-bit integers.
TWOFOLD_INLINE Ints multiply_bytes(Ints u, Ints x) { return _mm256_maddubs_epi16(u, x); }
TWOFOLD_INLINE Ints multiply_16(Ints a, Ints b) { return _mm256_madd_epi16(a, b); }

/// Bytes of `table` in its own 128-bit lane; 0 where an index is negative.
TWOFOLD_INLINE Ints look_up(Ints table, Ints index) { return _mm256_shuffle_epi8(table, index); }
/// 16 bytes for each lane, from places `stride` bytes apart.
TWOFOLD_INLINE Ints load_lanes(const uint8_t* from, int stride) {
  return _mm256_loadu2_m128i(reinterpret_cast<const __m128i*>(from + stride),
                             reinterpret_cast<const __m128i*>(from));
}
/// b in the rows of each lane whose bit is set in kRows, else a.
template <int kRows>
TWOFOLD_INLINE Ints blend_rows(Ints a, Ints b) {
  return _mm256_blend_epi32(a, b, kRows * 0x11);
}
/// The lanes of the next rows of a line, circularly.
/// @param after where the row after the last of `line` is: in the other half.
TWOFOLD_INLINE Ints load_next_rows(const uint8_t* line, int after) {
  int32_t last;
  __builtin_memcpy(&last, line + after, 4);
  return _mm256_blend_epi32(load_bytes(line + 4), set_32(last), 0x80);
}
/// In place of the odd units of kUnit bytes of a the even ones of b.
template <int kUnit>
TWOFOLD_INLINE Ints even_then_even(Ints a, Ints b) {
  if constexpr (kUnit == 2) return _mm256_blend_epi16(a, left_32(b, 16), 0xAA);
  return or_bits(and_bits(a, set_16(0x00FF)), left_16(b, 8));
}
/// In place of the even units of b the odd ones of a.
template <int kUnit>
TWOFOLD_INLINE Ints odd_then_odd(Ints a, Ints b) {
  if constexpr (kUnit == 2) return _mm256_blend_epi16(b, right_32(a, 16), 0x55);
  return or_bits(right_16(a, 8), and_bits(b, set_16(0xFF00)));
}
/// Bytes 4 j to 4 j + 3 of each 32 become the bytes j, j + 8, j + 16 and j + 24.
TWOFOLD_INLINE Ints every_eighth(Ints v) {
  const __m128i bytes = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  const __m128i words = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
  v = look_up(v, _mm256_broadcastsi128_si256(bytes));
  return look_up(_mm256_permute4x64_epi64(v, 0xD8), _mm256_broadcastsi128_si256(words));
}
/// 0, 1, 2, 3 in the four 32-bit parts of each lane: the row within it.
TWOFOLD_INLINE Ints rows_of_lanes() { return _mm256_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3); }
TWOFOLD_INLINE Ints multiply_low_32(Ints a, Ints b) { return _mm256_mullo_epi32(a, b); }

TWOFOLD_INLINE Floats set_float(float x) { return _mm256_set1_ps(x); }
TWOFOLD_INLINE Floats zero_floats() { return _mm256_setzero_ps(); }
TWOFOLD_INLINE Floats to_floats(Ints a) { return _mm256_cvtepi32_ps(a); }
TWOFOLD_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
  return _mm256_fmadd_ps(a, b, c);
}
TWOFOLD_INLINE Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
TWOFOLD_INLINE Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
TWOFOLD_INLINE Floats load_halfs(const uint8_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
TWOFOLD_INLINE Floats load_unsigned_bytes(const uint8_t* from) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
/// The first n numbers, all if n is at least kVectorRows, none if it is not positive.
TWOFOLD_INLINE void store_first(float* to, Floats v, int64_t n) {
  if (n >= kVectorRows) {
    _mm256_storeu_ps(to, v);
  } else if (n > 0) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_maskstore_ps(to, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane), v);
  }
}

}  // namespace

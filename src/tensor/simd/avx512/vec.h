// Sixteen floats in a register: the vocabulary that tensor/simd/ops_body.h and gemm_body.h are
// written in. Internal linkage; only for files compiled for AVX-512.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace twofold {
namespace {

using Number = float;
using Vec = __m512;
constexpr int64_t kLanes = 16;

inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }

inline Vec set1(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
/// The first n < kLanes elements; the others are `fill`.
inline Vec load_part(const float* p, int64_t n, float fill) {
  return _mm512_mask_loadu_ps(set1(fill), first_lanes(n), p);
}
inline void store_part(float* p, Vec v, int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }

inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
/// A NaN in b is kept.
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec abs(Vec a) { return _mm512_abs_ps(a); }
inline Vec round_nearest(Vec a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/// a 2^n for whole n, rounded once.
inline Vec times_pow2(Vec a, Vec n) { return _mm512_scalef_ps(a, n); }
/// a > b ? yes : no, lane by lane.
inline Vec select_greater(Vec a, Vec b, Vec yes, Vec no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}
/// Lane i becomes lane i xor kDistance.
template <int kDistance>
inline Vec swap_lanes(Vec a) {
  static_assert(kDistance == 1 || kDistance == 2 || kDistance == 4 || kDistance == 8);
  if constexpr (kDistance == 1) return _mm512_permute_ps(a, 0xb1);
  if constexpr (kDistance == 2) return _mm512_permute_ps(a, 0x4e);
  if constexpr (kDistance == 4) return _mm512_shuffle_f32x4(a, a, 0xb1);
  if constexpr (kDistance == 8) return _mm512_shuffle_f32x4(a, a, 0x4e);
}
inline float sum(Vec a) { return _mm512_reduce_add_ps(a); }
inline float largest(Vec a) { return _mm512_reduce_max_ps(a); }

using VecD = __m512d;  // half as many doubles
inline VecD zero_double() { return _mm512_setzero_pd(); }
/// total + both halves of v.
inline VecD add_double(VecD total, Vec v) {
  const VecD low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
  const VecD high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
  return _mm512_add_pd(total, _mm512_add_pd(low, high));
}
inline double sum_double(VecD a) { return _mm512_reduce_add_pd(a); }

inline Vec load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vec load_bf16(const uint16_t* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
/// Widens without quieting a signalling NaN, which the conversion instruction would do.
inline Vec load_f16_exact(const uint16_t* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const Vec value = _mm512_cvtph_ps(bits);
  const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  if (nan == 0) [[likely]]
    return value;
  const __m512i wide = _mm512_cvtepu16_epi32(bits);
  const __m512i sign = _mm512_slli_epi32(_mm512_and_si512(wide, _mm512_set1_epi32(0x8000)), 16);
  const __m512i payload = _mm512_slli_epi32(_mm512_and_si512(wide, _mm512_set1_epi32(0x3ff)), 13);
  const __m512i kept =
      _mm512_or_si512(sign, _mm512_or_si512(payload, _mm512_set1_epi32(0x7f800000)));
  return _mm512_mask_blend_ps(nan, value, _mm512_castsi512_ps(kept));
}
inline Vec load_i8(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}
/// Whole numbers in [-128, 127].
inline void store_i8(int8_t* p, Vec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v)));
}
inline void store_f16(uint16_t* p, Vec v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i sign = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x8000));
  const __m512i quiet = _mm512_or_si512(sign, _mm512_set1_epi32(0x7e00));
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  const __m256i half = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm256_mask_blend_epi16(nan, half, _mm512_cvtepi32_epi16(quiet)));
}
inline void store_bf16(uint16_t* p, Vec v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i top = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
  const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
  const __m512i quiet = _mm512_or_si512(top, _mm512_set1_epi32(0x40));
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  const __m512i result = _mm512_mask_blend_epi32(nan, rounded, quiet);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(result));
}

}  // namespace
}  // namespace twofold

// 32 numbers of 16 bits in a pair of registers.
#include <immintrin.h>

#include <cstdint>

#include "quant/simd/trellis_pass.h"

namespace twofold {
namespace {

struct Vec {
  __m256i low, high;
};

inline Vec load(const void* p) {
  const auto* from = static_cast<const __m256i*>(p);
  return {_mm256_load_si256(from), _mm256_load_si256(from + 1)};
}
inline void store(void* p, Vec v) {
  auto* to = static_cast<__m256i*>(p);
  _mm256_store_si256(to, v.low);
  _mm256_store_si256(to + 1, v.high);
}
inline Vec set1(int16_t x) { return {_mm256_set1_epi16(x), _mm256_set1_epi16(x)}; }
inline Vec all_ones() { return set1(-1); }
inline Vec square(Vec d) {
  return {_mm256_mulhi_epi16(d.low, d.low), _mm256_mulhi_epi16(d.high, d.high)};
}
inline Vec add(Vec a, Vec b) {
  return {_mm256_adds_epu16(a.low, b.low), _mm256_adds_epu16(a.high, b.high)};
}
inline Vec sub(Vec a, Vec b) {
  return {_mm256_sub_epi16(a.low, b.low), _mm256_sub_epi16(a.high, b.high)};
}
inline Vec min(Vec a, Vec b) {
  return {_mm256_min_epu16(a.low, b.low), _mm256_min_epu16(a.high, b.high)};
}
inline Vec add_signed(Vec a, Vec b) {
  return {_mm256_adds_epi16(a.low, b.low), _mm256_adds_epi16(a.high, b.high)};
}
inline Vec sub_signed(Vec a, Vec b) {
  return {_mm256_subs_epi16(a.low, b.low), _mm256_subs_epi16(a.high, b.high)};
}
inline Vec product(Vec a, Vec b) {
  return {_mm256_mulhrs_epi16(a.low, b.low), _mm256_mulhrs_epi16(a.high, b.high)};
}
/// Packing takes turns between the halves of both registers.
constexpr int mask_bit(int lane) { return (lane & 7) | (lane & 8) << 1 | (lane & 16) >> 1; }
inline uint32_t less(Vec a, Vec b) {
  const Vec least = min(a, b);
  const __m256i not_less = _mm256_packs_epi16(_mm256_cmpeq_epi16(least.low, b.low),
                                              _mm256_cmpeq_epi16(least.high, b.high));
  return ~static_cast<uint32_t>(_mm256_movemask_epi8(not_less));
}

inline __m256i pick(__m256i a, __m256i b, __m256i x, __m256i y) {
  return _mm256_blendv_epi8(x, y, _mm256_cmpeq_epi16(_mm256_min_epu16(a, b), b));
}
inline Vec pick(Vec a, Vec b, Vec x, Vec y) {
  return {pick(a.low, b.low, x.low, y.low), pick(a.high, b.high, x.high, y.high)};
}

inline Vec least(Vec v) {
  const __m256i half = _mm256_min_epu16(v.low, v.high);
  const __m128i quarter =
      _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  const __m256i all = _mm256_broadcastw_epi16(_mm_minpos_epu16(quarter));
  return {all, all};
}

inline __m256i evens(Vec v) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i packed = _mm256_packus_epi32(_mm256_blend_epi16(v.low, zero, 0xaa),
                                             _mm256_blend_epi16(v.high, zero, 0xaa));
  return _mm256_permute4x64_epi64(packed, 0xd8);
}
inline __m256i odds(Vec v) {
  const __m256i packed =
      _mm256_packus_epi32(_mm256_srli_epi32(v.low, 16), _mm256_srli_epi32(v.high, 16));
  return _mm256_permute4x64_epi64(packed, 0xd8);
}
inline Vec evens(Vec a, Vec b) { return {evens(a), evens(b)}; }
inline Vec odds(Vec a, Vec b) { return {odds(a), odds(b)}; }

}  // namespace
}  // namespace twofold

#include "quant/simd/trellis_body.h"

namespace twofold {

const TrellisPasses kTrellisPassesAvx2 = {
    .lanes = kTrellisLanes, .survivor_bytes = kTrellisSurvivorBytes, .run = run, .trace = trace};

}  // namespace twofold

// 32 numbers of 16 bits in a register.
#include <immintrin.h>

#include <cstdint>

#include "quant/simd/trellis_pass.h"

namespace twofold {
namespace {

using Vec = __m512i;

inline Vec load(const void* p) { return _mm512_load_si512(p); }
inline void store(void* p, Vec v) { _mm512_store_si512(p, v); }
inline Vec set1(int16_t x) { return _mm512_set1_epi16(x); }
inline Vec all_ones() { return _mm512_set1_epi16(-1); }
inline Vec square(Vec d) { return _mm512_mulhi_epi16(d, d); }
inline Vec add(Vec a, Vec b) { return _mm512_adds_epu16(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_epi16(a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_min_epu16(a, b); }
inline Vec add_signed(Vec a, Vec b) { return _mm512_adds_epi16(a, b); }
inline Vec sub_signed(Vec a, Vec b) { return _mm512_subs_epi16(a, b); }
inline Vec product(Vec a, Vec b) { return _mm512_mulhrs_epi16(a, b); }
inline uint32_t less(Vec a, Vec b) { return _mm512_cmplt_epu16_mask(a, b); }
inline Vec pick(Vec a, Vec b, Vec x, Vec y) { return _mm512_mask_blend_epi16(less(a, b), y, x); }
constexpr int mask_bit(int lane) { return lane; }

inline Vec least(Vec v) {
  const __m256i half = _mm256_min_epu16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  const __m128i quarter =
      _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  return _mm512_broadcastw_epi16(_mm_minpos_epu16(quarter));
}

alignas(64) constexpr uint16_t kEvens[32] = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20,
                                             22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42,
                                             44, 46, 48, 50, 52, 54, 56, 58, 60, 62};

inline Vec evens(Vec a, Vec b) { return _mm512_permutex2var_epi16(a, load(kEvens), b); }
inline Vec odds(Vec a, Vec b) {
  return _mm512_permutex2var_epi16(a, _mm512_or_si512(load(kEvens), set1(1)), b);
}

}  // namespace
}  // namespace twofold

#include "quant/simd/trellis_body.h"

namespace twofold {

const TrellisPasses kTrellisPassesAvx512 = {
    .lanes = kTrellisLanes, .survivor_bytes = kTrellisSurvivorBytes, .run = run, .trace = trace};

}  // namespace twofold

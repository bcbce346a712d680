// Rounding of activations to int8.
#include <immintrin.h>

#include "kernels/tables.h"

namespace {

using twofold::BlockScale;

__mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xFFFF : (1 << n) - 1); }

float largest_magnitude(const float* x, int64_t n) {
  __m512i largest = _mm512_setzero_si512();
  for (int64_t c = 0; c < n; c += 16) {
    const __m512i bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(first_lanes(n - c), x + c));
    const __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF));
    largest = _mm512_max_epu32(largest, magnitude);
  }
  const unsigned bits = _mm512_reduce_max_epu32(largest);
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

void round_row(const float* x, int64_t n, int64_t block, int8_t* values, float* scales,
               int32_t* sums) {
  for (int64_t begin = 0; begin < n; begin += block) {
    const int64_t count = n - begin < block ? n - begin : block;
    const BlockScale scale = twofold::block_scale(largest_magnitude(x + begin, count));
    scales[begin / block] = scale.scale;
    const __m512 inverse = _mm512_set1_ps(scale.inverse);
    // A scale that is not a number comes with numbers that are not: they become zero.
    const __mmask16 keep = scale.inverse == 0 ? 0 : 0xFFFF;
    for (int64_t c = 0; c < count; c += 32) {
      const __mmask16 low = keep & first_lanes(count - c);
      const __mmask16 high = count - c <= 16 ? 0 : keep & first_lanes(count - c - 16);
      const __m512 a = _mm512_mul_ps(_mm512_maskz_loadu_ps(low, x + begin + c), inverse);
      const __m512 b = _mm512_mul_ps(_mm512_maskz_loadu_ps(high, x + begin + c + 16), inverse);
      const __m512i first = _mm512_cvtps_epi32(a), second = _mm512_cvtps_epi32(b);
      int8_t* to = values + begin + c;
      _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(first));
      _mm_store_si128(reinterpret_cast<__m128i*>(to + 16), _mm512_cvtepi32_epi8(second));
      sums[(begin + c) / twofold::kSumColumns] =
          _mm512_reduce_add_epi32(_mm512_add_epi32(first, second));
    }
  }
  const int64_t rounded = (n + 31) / 32 * 32;
  const int64_t end =
      (n + twofold::kInt8Padding - 1) / twofold::kInt8Padding * twofold::kInt8Padding;
  for (int64_t c = rounded; c < end; ++c) values[c] = 0;
}

}  // namespace

namespace twofold {
constinit const RowRounding kRowRoundingAvx512 = {round_row};
}  // namespace twofold

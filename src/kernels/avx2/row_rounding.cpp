// Rounding of activations to int8.
#include <immintrin.h>

#include "kernels/tables.h"

namespace {

using twofold::BlockScale;

/// x[0..n), zeros beyond; none if n is not positive.
__m256 load_first(const float* x, int64_t n) {
  if (n >= 8) return _mm256_loadu_ps(x);
  if (n <= 0) return _mm256_setzero_ps();
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(x, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane));
}

float largest_magnitude(const float* x, int64_t n) {
  __m256i largest = _mm256_setzero_si256();
  for (int64_t c = 0; c < n; c += 8) {
    const __m256i bits = _mm256_castps_si256(load_first(x + c, n - c));
    const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7FFFFFFF));
    largest = _mm256_max_epu32(largest, magnitude);
  }
  __m128i m = _mm_max_epu32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4E));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xB1));
  return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

int32_t sum_of_lanes(__m256i a) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

void round_row(const float* x, int64_t n, int64_t block, int8_t* values, float* scales,
               int32_t* sums) {
  // Packing works within halves of a register: this brings the groups of four back in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (int64_t begin = 0; begin < n; begin += block) {
    const int64_t count = n - begin < block ? n - begin : block;
    const BlockScale scale = twofold::block_scale(largest_magnitude(x + begin, count));
    scales[begin / block] = scale.scale;
    const __m256 inverse = _mm256_set1_ps(scale.inverse);
    for (int64_t c = 0; c < count; c += 32) {
      __m256i part[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        // A scale that is not a number comes with numbers that are not: they become zero.
        const int64_t here = scale.inverse == 0 ? 0 : count - c - 8 * i;
        part[i] =
            _mm256_cvtps_epi32(_mm256_mul_ps(load_first(x + begin + c + 8 * i, here), inverse));
      }
      const __m256i words = _mm256_packs_epi16(_mm256_packs_epi32(part[0], part[1]),
                                               _mm256_packs_epi32(part[2], part[3]));
      _mm256_store_si256(reinterpret_cast<__m256i*>(values + begin + c),
                         _mm256_permutevar8x32_epi32(words, order));
      sums[(begin + c) / twofold::kSumColumns] = sum_of_lanes(
          _mm256_add_epi32(_mm256_add_epi32(part[0], part[1]), _mm256_add_epi32(part[2], part[3])));
    }
  }
  const int64_t rounded = (n + 31) / 32 * 32;
  const int64_t end =
      (n + twofold::kInt8Padding - 1) / twofold::kInt8Padding * twofold::kInt8Padding;
  for (int64_t c = rounded; c < end; ++c) values[c] = 0;
}

}  // namespace

namespace twofold {
constinit const RowRounding kRowRoundingAvx2 = {round_row};
}  // namespace twofold

#include "io/simd/block_decoders.h"

#include <immintrin.h>

namespace twofold::ggml {
namespace {

__m256 load_f16(const std::byte* p) {  // in all eight lanes
  return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_loadu_si16(p)));
}

/// The low eight bytes, unsigned, as floats.
__m256 widen_u8(__m128i bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)); }
/// The low eight bytes, signed, as floats.
__m256 widen_i8(__m128i bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)); }
__m128i upper_half(__m128i bytes) { return _mm_unpackhi_epi64(bytes, bytes); }

struct Nibbles {
  __m128i low, high;
};

Nibbles load_nibbles(const std::byte* p) {  // 16 bytes
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i mask = _mm_set1_epi8(15);
  return {_mm_and_si128(bytes, mask), _mm_and_si128(_mm_srli_epi16(bytes, 4), mask)};
}

void decode_q4_0(const std::byte* blocks, int64_t count, float* out) {
  const __m128i eight = _mm_set1_epi8(8);
  for (int64_t b = 0; b < count; ++b, blocks += 18, out += 32) {
    const __m256 scale = load_f16(blocks);
    const Nibbles codes = load_nibbles(blocks + 2);
    const __m128i low = _mm_sub_epi8(codes.low, eight);
    const __m128i high = _mm_sub_epi8(codes.high, eight);
    _mm256_storeu_ps(out, _mm256_mul_ps(scale, widen_i8(low)));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(scale, widen_i8(upper_half(low))));
    _mm256_storeu_ps(out + 16, _mm256_mul_ps(scale, widen_i8(high)));
    _mm256_storeu_ps(out + 24, _mm256_mul_ps(scale, widen_i8(upper_half(high))));
  }
}

void decode_q4_1(const std::byte* blocks, int64_t count, float* out) {
  for (int64_t b = 0; b < count; ++b, blocks += 20, out += 32) {
    const __m256 scale = load_f16(blocks);
    const __m256 minimum = load_f16(blocks + 2);
    const Nibbles codes = load_nibbles(blocks + 4);
    // Two roundings, as the format's reference decoder has: no fused multiply-add.
    const auto put = [&](int64_t i, __m128i bytes) {
      _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_mul_ps(scale, widen_u8(bytes)), minimum));
    };
    put(0, codes.low);
    put(8, upper_half(codes.low));
    put(16, codes.high);
    put(24, upper_half(codes.high));
  }
}

void decode_q8_0(const std::byte* blocks, int64_t count, float* out) {
  for (int64_t b = 0; b < count; ++b, blocks += 34, out += 32) {
    const __m256 scale = load_f16(blocks);
    for (int64_t i = 0; i < 32; i += 8) {
      const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(blocks + 2 + i));
      _mm256_storeu_ps(out + i, _mm256_mul_ps(scale, widen_i8(codes)));
    }
  }
}

}  // namespace

const BlockDecoders kAvx2BlockDecoders = {decode_q4_0, decode_q4_1, decode_q8_0};

}  // namespace twofold::ggml

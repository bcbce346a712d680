// Probe of AVX2.
#include <immintrin.h>

#include "kernels/probe_table.h"

namespace twofold {
namespace {

constexpr int kChains = 12;
constexpr int64_t kAheadBytes = 4096;

/// Products of bytes need three instructions: pairs to 16 bits, pairs to 32 bits, the sum.
void run_integer(int64_t rounds) {
  const __m256i bytes = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
  __m256i sums[kChains] = {};
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      __m256i pairs;
      asm volatile("vpmaddubsw %2, %2, %1\n\tvpmaddwd %3, %1, %1\n\tvpaddd %1, %0, %0"
                   : "+x"(sums[c]), "=&x"(pairs)
                   : "x"(bytes), "x"(ones));
    }
  }
}

void run_floating(int64_t rounds) {
  const __m256 one = _mm256_set1_ps(1);
  __m256 sums[kChains] = {};
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      asm volatile("vfmadd231ps %1, %1, %0" : "+x"(sums[c]) : "x"(one));
    }
  }
}

uint32_t sum_lines(const void* data, int64_t lines) {
  const auto* at = static_cast<const char*>(data);
  __m256i sums[4] = {};
  for (int64_t i = 0; i < lines; i += 2, at += 128) {
    _mm_prefetch(at + kAheadBytes, _MM_HINT_T0);
    _mm_prefetch(at + kAheadBytes + 64, _MM_HINT_T0);
    for (int part = 0; part < 4; ++part) {
      const __m256i words = _mm256_load_si256(reinterpret_cast<const __m256i*>(at) + part);
      sums[part] = _mm256_add_epi32(sums[part], words);
    }
  }
  const __m256i all =
      _mm256_add_epi32(_mm256_add_epi32(sums[0], sums[1]), _mm256_add_epi32(sums[2], sums[3]));
  uint32_t words[8], sum = 0;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), all);
  for (const uint32_t word : words) sum += word;
  return sum;
}

}  // namespace

const ProbeTable kProbeAvx2 = {
    .integer = {"vpmaddubsw + vpmaddwd + vpaddd ymm", 2 * 32 * kChains, run_integer},
    .floating = {"vfmadd231ps ymm", 2 * 8 * kChains, run_floating},
    .sum_lines = sum_lines,
};

}  // namespace twofold

// Loops that the probes of all levels with AVX-512 share. Internal linkage; only for files compiled
// for it.
#pragma once

#include <immintrin.h>

#include "kernels/probe_table.h"

namespace twofold {
namespace {

constexpr int kProbeChains = 12;
constexpr int64_t kProbeAheadBytes = 4096;

inline void run_fma_512(int64_t rounds) {
  const __m512 one = _mm512_set1_ps(1);
  __m512 sums[kProbeChains] = {};
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kProbeChains; ++c) {
      asm volatile("vfmadd231ps %1, %1, %0" : "+v"(sums[c]) : "v"(one));
    }
  }
}

constexpr PeakLoop kFma512 = {"vfmadd231ps zmm", 2 * 16 * kProbeChains, run_fma_512};

inline uint32_t sum_lines_512(const void* data, int64_t lines) {
  const auto* at = static_cast<const char*>(data);
  __m512i sums[4] = {};
  for (int64_t i = 0; i < lines; i += 4, at += 256) {
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) {
      _mm_prefetch(at + kProbeAheadBytes + part * 64, _MM_HINT_T0);
      sums[part] = _mm512_add_epi32(sums[part], _mm512_load_si512(at + part * 64));
    }
  }
  uint32_t words[16], sum = 0;
  _mm512_storeu_si512(words, _mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]),
                                              _mm512_add_epi32(sums[2], sums[3])));
  for (const uint32_t word : words) sum += word;
  return sum;
}

}  // namespace
}  // namespace twofold

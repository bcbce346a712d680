// Probe of AVX-512 without VNNI.
#include "kernels/avx512/probe_loops.h"

namespace twofold {
namespace {

/// Products of bytes need three instructions: pairs to 16 bits, pairs to 32 bits, the sum.
void run_integer(int64_t rounds) {
  const __m512i bytes = _mm512_set1_epi8(1), ones = _mm512_set1_epi16(1);
  __m512i sums[kProbeChains] = {};
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kProbeChains; ++c) {
      __m512i pairs;
      asm volatile("vpmaddubsw %2, %2, %1\n\tvpmaddwd %3, %1, %1\n\tvpaddd %1, %0, %0"
                   : "+v"(sums[c]), "=&v"(pairs)
                   : "v"(bytes), "v"(ones));
    }
  }
}

}  // namespace

const ProbeTable kProbeAvx512 = {
    .integer = {"vpmaddubsw + vpmaddwd + vpaddd zmm", 2 * 64 * kProbeChains, run_integer},
    .floating = kFma512,
    .sum_lines = sum_lines_512,
};

}  // namespace twofold

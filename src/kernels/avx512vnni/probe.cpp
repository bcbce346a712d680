// Probe of AVX-512 with VNNI.
#include "kernels/avx512/probe_loops.h"

namespace twofold {
namespace {

void run_integer(int64_t rounds) {
  const __m512i bytes = _mm512_set1_epi8(1);
  __m512i sums[kProbeChains] = {};
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kProbeChains; ++c) {
      asm volatile("vpdpbusd %1, %1, %0" : "+v"(sums[c]) : "v"(bytes));
    }
  }
}

}  // namespace

const ProbeTable kProbeAvx512Vnni = {
    .integer = {"vpdpbusd zmm", 2 * 64 * kProbeChains, run_integer},
    .floating = kFma512,
    .sum_lines = sum_lines_512,
};

}  // namespace twofold

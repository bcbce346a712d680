// Probe of the baseline: 128-bit vectors where the machine has them.
#include "kernels/probe_table.h"

namespace twofold {
namespace {

typedef int16_t Shorts __attribute__((vector_size(16)));
typedef float Floats __attribute__((vector_size(16)));
typedef uint32_t Words __attribute__((vector_size(16)));

constexpr int kChains = 6;

/// The value as the compiler must assume somebody has changed it: keeps a loop a loop.
template <class T>
void touch(T& value) {
#if defined(__x86_64__)
  asm volatile("" : "+x"(value));
#elif defined(__aarch64__)
  asm volatile("" : "+w"(value));
#else
  asm volatile("" : "+m"(value));
#endif
}

template <class T, class Number>
void multiply_add(int64_t rounds, Number one) {
  T factor = T{} + one, sums[kChains] = {};
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 6
    for (int c = 0; c < kChains; ++c) {
      touch(factor);
      sums[c] += factor * factor;
      touch(sums[c]);
    }
  }
}

void run_integer(int64_t rounds) { multiply_add<Shorts>(rounds, int16_t{1}); }
void run_floating(int64_t rounds) { multiply_add<Floats>(rounds, 1.0f); }

uint32_t sum_lines(const void* data, int64_t lines) {
  const auto* words = static_cast<const Words*>(data);
  Words sums[4] = {};
  for (int64_t i = 0; i < lines; ++i) {
    for (int64_t part = 0; part < 4; ++part) sums[part] += words[i * 4 + part];
  }
  const Words all = sums[0] + sums[1] + sums[2] + sums[3];
  return all[0] + all[1] + all[2] + all[3];
}

}  // namespace

const ProbeTable kProbeScalar = {
    .integer = {"16-bit multiply and add, 128 bits", 2 * 8 * kChains, run_integer},
    .floating = {"multiply and add, 128 bits", 2 * 4 * kChains, run_floating},
    .sum_lines = sum_lines,
};

}  // namespace twofold

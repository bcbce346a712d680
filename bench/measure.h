// What the benchmarks of float products share: clocks, medians, and the speed of a loop of fused
// multiply-additions that touches no memory.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"

namespace twofold {

inline double seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

#if defined(__x86_64__)
constexpr int kChains = 12;
constexpr int kSteps = 200000;
using Floats8 = float __attribute__((vector_size(32)));
using Floats16 = float __attribute__((vector_size(64)));

// Independent chains of a b + c; the empty asm keeps them from being folded.
__attribute__((target("avx512f"), optimize("fp-contract=fast"))) inline void chains_avx512() {
  Floats16 sums[kChains] = {};
  const Floats16 factor = Floats16{} + 0.5f;
  for (int i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (Floats16& sum : sums) {
      sum = sum * factor + factor;
      __asm__ volatile("" : "+v"(sum));
    }
  }
}
__attribute__((target("avx2,fma"), optimize("fp-contract=fast"))) inline void chains_avx2() {
  Floats8 sums[kChains] = {};
  const Floats8 factor = Floats8{} + 0.5f;
  for (int i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (Floats8& sum : sums) {
      sum = sum * factor + factor;
      __asm__ volatile("" : "+x"(sum));
    }
  }
}
#endif

// GFLOP/s without memory, or 0 where it is not known.
inline double peak([[maybe_unused]] ThreadPool& pool, [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (isa != Isa::kScalar) {
    const bool wide = isa >= Isa::kAvx512;
    const double time = seconds([&] {
      pool.run_static(pool.size(),
                      [&](int64_t, int64_t, int) { wide ? chains_avx512() : chains_avx2(); });
    });
    return 2.0 * kChains * kSteps * (wide ? 16 : 8) * pool.size() / time / 1e9;
  }
#endif
  return 0;
}

}  // namespace twofold

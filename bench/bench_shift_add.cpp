// Powers of two: shifts and additions instead of multiplications, as the method proposes them,
// beside the table kernel that multiplies: the same packed 4-bit matrix (r16-t4, levels 0 and +-1
// to
// +-64) and int8 activations, one row, one thread, weights in the cache; the results are compared.
// Usage: bench_shift_add. Exit status 1 if they differ, or 2 if this CPU lacks AVX-512 with VNNI.
#include <fmt/format.h>

#include "kernels/int8_activations.h"
#include "kernels/packed_view.h"
#include "kernels/select.h"
#include "measure.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace twofold {
namespace {

constexpr int64_t kRows = 512, kCols = 2048;
constexpr int kRounds = 9, kRuns = 50;

/// 0, 1, 2, ..., 64, and their negatives for codes from 8 on.
PackedMatrix power_matrix() {
  QuantizedMatrix q;
  q.scheme = parse_format("r16-t4").scheme;
  q.rows = kRows;
  q.cols = kCols;
  uint32_t state = 1;
  for (int64_t i = 0; i < kRows * kCols; ++i) {
    state = state * 1664525u + 1013904223u;
    q.codes.push_back(static_cast<uint16_t>(state >> 16 & 15));
  }
  q.scale.assign(kRows, 0.0078125f);
  for (int code = 0; code < 16; ++code) {
    const float level = code % 8 == 0 ? 0.0f : static_cast<float>(1 << (code % 8 - 1));
    q.levels.push_back(code < 8 ? level : -level);
  }
  return pack(q);
}

/// 16 rows at a time, a lane each: for every column the activation is shifted by the exponent of
/// the lane's code and added, or subtracted where the sign bit of the code is set. Shifts of 32
/// make 0. A column takes two shifts, a shuffle, a test and two additions for 16 weights.
[[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,f16c,fma")]] void shift_add(const PackedView& w,
                                                                              const Int8Rows& x,
                                                                              float* y) {
  const __m512i exponents = _mm512_set_epi32(6, 5, 4, 3, 2, 1, 0, 32, 6, 5, 4, 3, 2, 1, 0, 32);
  const __m512i sign_bit = _mm512_set1_epi32(8);
  for (int64_t block = 0; block < w.blocks; ++block) {
    const uint8_t* line = w.blob + block * w.block_bytes;
    __m512 sums = _mm512_setzero_ps();
    for (int64_t s = 0; s < x.segments; ++s) {
      __m512i all = _mm512_setzero_si512(), negative = _mm512_setzero_si512();
      for (int64_t c = s * x.segment; c < (s + 1) * x.segment; c += 8, line += 64) {
        const __m512i codes = _mm512_loadu_si512(line);
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {  // column 4 p + j is at bit 8 j + 4 p
          const unsigned at = static_cast<unsigned>(i % 4 * 8 + i / 4 * 4);
          const __m512i code = _mm512_srli_epi32(codes, at);
          const __m512i shifted = _mm512_sllv_epi32(_mm512_set1_epi32(x.values[c + i]),
                                                    _mm512_permutexvar_epi32(code, exponents));
          all = _mm512_add_epi32(all, shifted);
          negative = _mm512_mask_add_epi32(negative, _mm512_test_epi32_mask(code, sign_bit),
                                           negative, shifted);
        }
      }
      const __m512i sum = _mm512_sub_epi32(all, _mm512_slli_epi32(negative, 1));
      sums = _mm512_fmadd_ps(_mm512_set1_ps(x.scales[s]), _mm512_cvtepi32_ps(sum), sums);
    }
    const uint8_t* scales = w.blob + block * w.block_bytes + w.scales_at;
    const __m512 scale =
        _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(scales)));
    const __m512 power = _mm512_set1_ps(w.power);
    _mm512_storeu_ps(y + block * 16, _mm512_mul_ps(_mm512_mul_ps(scale, power), sums));
  }
}

int run() {
  if (!cpu_has(Isa::kAvx512Vnni)) return 2;
  ThreadPool pool(1);
  const PackedMatrix packed = power_matrix();
  const PackedView view = packed_view(packed);
  std::vector<float> x(kCols), by_shifts(kRows), by_table(kRows);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 101) * 0.01f - 0.5f;
  Int8Activations rounded({x.data(), 1, kCols}, {kActivationBlock}, select_isa(), pool);
  const Kernel* kernel = select_kernel(packed.format, 1, Isa::kAvx512Vnni);
  const MatmulArgs args = {.weights = &view,
                           .x = rounded.cut(view.group),
                           .m = 1,
                           .y = by_table.data(),
                           .y_stride = kRows,
                           .block_end = view.blocks};
  std::vector<double> shifts, tables;
  for (int round = 0; round < kRounds; ++round) {
    shifts.push_back(seconds([&] {
      for (int i = 0; i < kRuns; ++i) shift_add(view, args.x, by_shifts.data());
    }));
    tables.push_back(seconds([&] {
      for (int i = 0; i < kRuns; ++i) kernel->run(args);
    }));
  }
  const double weights = static_cast<double>(kRuns * kRows * kCols) * 1e-9;
  const double shift_time = *std::min_element(shifts.begin(), shifts.end());
  const double table_time = *std::min_element(tables.begin(), tables.end());
  fmt::print("{}\nshift and add {:.1f} Gweights/s, {} {:.1f} Gweights/s: {:.1f} times\n",
             cpu_name(), weights / shift_time, kernel->name, weights / table_time,
             shift_time / table_time);
  if (by_shifts == by_table) return 0;
  fmt::print("the results differ\n");
  return 1;
}

}  // namespace
}  // namespace twofold

int main() { return twofold::run(); }
#else
int main() { return 2; }
#endif

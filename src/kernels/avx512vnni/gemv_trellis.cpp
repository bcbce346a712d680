// Products of trellises with a few rows of activations. A vector of values holds every eighth
// column of a step; the activations are brought into that order once for all rows of weights.
#include "kernels/avx512vnni/gemv.h"
#include "kernels/avx512vnni/trellis.h"
#include "kernels/tables.h"

namespace {

using twofold::Kernel;

constexpr int64_t kMostRows = 4;

/// Bytes 4 j to 4 j + 3 are the columns j, j + 8, j + 16 and j + 24 of 32.
constexpr ByteNumbers kColumnOrder = [] {
  ByteNumbers from{};
  for (int at = 0; at < 64; ++at) {
    from.bytes[at] = static_cast<uint8_t>(at / 32 * 32 + at % 4 * 8 + at % 32 / 4);
  }
  return from;
}();

int64_t scratch_bytes(const PackedView& w, int64_t m) {
  const int64_t padded = (w.cols + twofold::kInt8Padding - 1) / twofold::kInt8Padding;
  return m * padded * twofold::kInt8Padding;
}

template <class Values>
void multiply(const MatmulArgs& args) {
  const __m512i order = _mm512_load_si512(kColumnOrder.bytes);
  for (int64_t at = 0; at < args.m * args.x.stride; at += 64) {
    const __m512i columns = _mm512_loadu_si512(args.x.values + at);
    _mm512_storeu_si512(args.scratch + at, _mm512_permutexvar_epi8(order, columns));
  }
  MatmulArgs ordered = args;
  ordered.x.values = reinterpret_cast<const int8_t*>(args.scratch);
  gemv_rows<Values>(ordered);
}

template <int kBits, int kWindow>
constexpr Kernel kernel(const char* name) {
  return {.name = name,
          .isa = twofold::Isa::kAvx512Vnni,
          .min_m = 1,
          .max_m = kMostRows,
          .accepts = accepts_windows<kBits, kWindow>,
          .scratch_bytes = scratch_bytes,
          .run = multiply<TrellisValues<kBits, kWindow>>,
          .contiguous = true};
}

constexpr Kernel kKernels[] = {
    kernel<1, 12>("gemv-trellis1-avx512vnni"), kernel<2, 12>("gemv-trellis2-avx512vnni"),
    kernel<3, 12>("gemv-trellis3-avx512vnni"), kernel<4, 12>("gemv-trellis4-avx512vnni"),
    kernel<1, 6>("gemv-trellis1s-avx512vnni"), kernel<2, 6>("gemv-trellis2s-avx512vnni"),
    kernel<3, 6>("gemv-trellis3s-avx512vnni"),
};

}  // namespace

namespace twofold {
constinit const KernelList kGemvTrellisAvx512Vnni = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold

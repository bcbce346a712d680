#include "kernels/select.h"

#include <algorithm>
#include <array>

#include "kernels/packed_view.h"

namespace twofold {

std::vector<const Kernel*> all_kernels() {
  static constexpr std::array kLists = {
    &kKernelsScalar,
#if defined(TWOFOLD_X86_KERNELS)
    &kGemvAffineAvx2,
    &kGemvTableAvx2,
    &kGemvTrellisAvx2,
    &kGemmAvx2,
    &kGemvAffineAvx512,
    &kGemvTableAvx512,
    &kGemvTrellisAvx512,
    &kGemmAvx512,
    &kGemvAffineAvx512Vnni,
    &kGemvTableAvx512Vnni,
    &kGemvPlanesAvx512Vnni,
    &kGemvTrellisAvx512Vnni,
    &kGemmAvx512Vnni,
    &kGemmAmx,
#endif
  };
  std::vector<const Kernel*> kernels;
  for (const KernelList* list : kLists) {
    for (int64_t i = 0; i < list->count; ++i) kernels.push_back(list->kernels + i);
  }
  return kernels;
}

std::vector<const Kernel*> kernels_of(const Format& format) {
  const std::optional<WeightKind> kind = weight_kind(format);
  if (!kind) return {};
  std::vector<const Kernel*> kernels = all_kernels();
  std::erase_if(kernels, [&](const Kernel* kernel) { return !kernel->accepts(*kind); });
  return kernels;
}

const Kernel* best_kernel(std::span<const Kernel* const> kernels, int64_t m, Isa limit) {
  const Kernel* best = nullptr;
  for (const Kernel* kernel : kernels) {
    if (kernel->isa > limit || m < kernel->min_m || m > kernel->max_m) continue;
    if (best == nullptr || kernel->isa >= best->isa) best = kernel;
  }
  return best;
}

const Kernel* select_kernel(const Format& format, int64_t m, Isa limit) {
  return best_kernel(kernels_of(format), m, limit);
}

int64_t blocks_per_item(const Kernel& kernel, int64_t blocks, int threads) {
  constexpr int64_t kItemsPerThread = 4, kPair = 2;  // kernels unpack two blocks at a time
  const int64_t even = blocks / (kItemsPerThread * threads) / kPair * kPair;
  return std::clamp(even, kPair, std::max(kPair, kernel.most_blocks));
}

RoundRowFn select_row_rounding(Isa limit) {
#if defined(TWOFOLD_X86_KERNELS)
  if (limit >= Isa::kAvx512) return kRowRoundingAvx512.round;
  if (limit >= Isa::kAvx2) return kRowRoundingAvx2.round;
#endif
  return kRowRoundingScalar.round;
}

}  // namespace twofold

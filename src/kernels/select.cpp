#include "kernels/select.h"

#include <array>

namespace twofold {

std::span<const Kernel> all_kernels() {
  static const std::array kKernels = {reference_kernel()};
  return kKernels;
}

const Kernel* select_kernel(const Format& format, int64_t m, Isa limit) {
  const Kernel* best = nullptr;
  for (const Kernel& kernel : all_kernels()) {
    if (!kernel.selectable || kernel.isa > limit || m > kernel.max_m) continue;
    if (!kernel.accepts(format)) continue;
    if (best == nullptr || kernel.isa > best->isa) best = &kernel;
  }
  return best;
}

}  // namespace twofold

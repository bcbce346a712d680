// Selection of the kernel of a packed matrix: pure, tested, done once per matrix.
#pragma once

#include <span>
#include <string_view>

#include "base/cpu.h"
#include "formats/format.h"
#include "kernels/kernel.h"

namespace twofold {

struct Kernel {
  std::string_view name;  // "reference"
  Isa isa;
  int64_t max_m;    // most rows of activations it is meant for
  bool selectable;  // false: a definition to compare with, never chosen
  bool (*accepts)(const Format& format);
  void (*run)(const MatmulArgs& args);
};

std::span<const Kernel> all_kernels();
/// The slow, obvious kernel that defines the result: every format, float64 sums.
const Kernel& reference_kernel();
/// The best fast kernel for `format` and `m` rows at `limit` or below; null if there is none: then
/// the caller decodes panels for the float GEMM.
const Kernel* select_kernel(const Format& format, int64_t m, Isa limit);

}  // namespace twofold

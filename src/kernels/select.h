// Selection of the kernel of a packed matrix: pure, tested, done once per matrix.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "formats/format.h"
#include "kernels/kernel.h"
#include "kernels/tables.h"

namespace twofold {

/// Kernels of all instruction sets, better ones after worse ones of the same instruction set.
std::vector<const Kernel*> all_kernels();
/// Those that can multiply matrices of `format`, in the order of all_kernels.
std::vector<const Kernel*> kernels_of(const Format& format);
/// The best of `kernels` for m rows at `limit` or below, null if there is none.
const Kernel* best_kernel(std::span<const Kernel* const> kernels, int64_t m, Isa limit);
/// The best kernel for `format` and `m` rows at `limit` or below; null if there is none: then the
/// caller decodes panels for the float product.
const Kernel* select_kernel(const Format& format, int64_t m, Isa limit);
/// Blocks of weights that a thread takes at a time from `blocks` for a kernel with scratch memory:
/// few enough that `threads` are busy to the end.
int64_t blocks_per_item(const Kernel& kernel, int64_t blocks, int threads);
/// The rounding of activations at `limit` or below.
RoundRowFn select_row_rounding(Isa limit);

/// What all kernels stand for, with float activations: rows decoded one by one, sums in float64.
/// x [m, cols], y [m, rows].
void reference_product(const PackedMatrix& packed, Matrix<const float> x, Matrix<float> y);

}  // namespace twofold

// The kernels of kernels/<isa>/gemv_trellis.cpp: trellises, a few rows. A vector of values holds
// every eighth column of a step; the activations are brought into that order once for all rows of
// weights.
#pragma once

#include "kernels/pairs/gemv.h"
#include "kernels/pairs/trellis.h"
#include "kernels/tables.h"

namespace {

using twofold::Kernel;

int64_t scratch_bytes(const PackedView& w, int64_t m) {
  const int64_t padded = (w.cols + twofold::kInt8Padding - 1) / twofold::kInt8Padding;
  return gemv_scratch_bytes(w, m) + m * padded * twofold::kInt8Padding;
}

/// Pairs of products of levels that are added in 16 bits: of tables whose levels are 0 to 64 times
/// a unit above the lowest.
constexpr int kPairs = 2;

template <int kBits, int kWindow>
void multiply(const MatmulArgs& args) {
  const PackedView& w = *args.weights;
  auto* ordered = args.scratch + gemv_scratch_bytes(w, args.m);
  for (int64_t at = 0; at < args.m * args.x.stride; at += kVectorBytes) {
    store_bytes(ordered + at, every_eighth(load_bytes(args.x.values + at)));
  }
  MatmulArgs in_order = args;
  in_order.x.values = reinterpret_cast<const int8_t*>(ordered);
  const int largest = level_bytes(w.shared_table, TrellisValues<kBits, kWindow>::kLevels).largest;
  if (sums_in_16_bits(largest) >= kPairs) {
    gemv_rows<TrellisValues<kBits, kWindow, kPairs>>(in_order);
  } else {
    gemv_rows<TrellisValues<kBits, kWindow>>(in_order);
  }
}

template <int kBits, int kWindow>
constexpr Kernel kernel(const char* name) {
  return {.name = name,
          .isa = TWOFOLD_KERNEL_ISA,
          .min_m = 1,
          .max_m = kMostGemvRows,
          .accepts = accepts_windows<kBits, kWindow>,
          .scratch_bytes = scratch_bytes,
          .run = multiply<kBits, kWindow>,
          .contiguous = true};
}

constexpr Kernel kKernels[] = {
    kernel<1, 12>("gemv-trellis1" TWOFOLD_KERNEL_SUFFIX),
    kernel<2, 12>("gemv-trellis2" TWOFOLD_KERNEL_SUFFIX),
    kernel<3, 12>("gemv-trellis3" TWOFOLD_KERNEL_SUFFIX),
    kernel<4, 12>("gemv-trellis4" TWOFOLD_KERNEL_SUFFIX),
    kernel<1, 6>("gemv-trellis1s" TWOFOLD_KERNEL_SUFFIX),
    kernel<2, 6>("gemv-trellis2s" TWOFOLD_KERNEL_SUFFIX),
    kernel<3, 6>("gemv-trellis3s" TWOFOLD_KERNEL_SUFFIX),
};

}  // namespace

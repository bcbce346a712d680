// The kernels of kernels/<isa>/gemv_affine.cpp: affine codes of 2 to 8 bits, a few rows.
#pragma once

#include "kernels/pairs/gemv.h"
#include "kernels/tables.h"

namespace {

using twofold::Kernel;
using twofold::WeightKind;
using twofold::WeightValues;

template <int kBits>
bool accepts(const WeightKind& kind) {
  return kind.values == WeightValues::kAffine && kind.bits == kBits;
}

template <int kBits>
constexpr Kernel kernel(const char* name) {
  constexpr bool kWide = AffineValues<kBits>::kWide;
  return {.name = name,
          .isa = TWOFOLD_KERNEL_ISA,
          .min_m = 1,
          .max_m = kMostGemvRows,
          .accepts = accepts<kBits>,
          .scratch_bytes = kWide ? gemv_scratch_bytes : nullptr,
          .run = gemv_rows<AffineValues<kBits>>,
          .contiguous = kWide};
}

constexpr Kernel kKernels[] = {
    kernel<2>("gemv-affine2" TWOFOLD_KERNEL_SUFFIX),
    kernel<3>("gemv-affine3" TWOFOLD_KERNEL_SUFFIX),
    kernel<4>("gemv-affine4" TWOFOLD_KERNEL_SUFFIX),
    kernel<5>("gemv-affine5" TWOFOLD_KERNEL_SUFFIX),
    kernel<6>("gemv-affine6" TWOFOLD_KERNEL_SUFFIX),
    kernel<7>("gemv-affine7" TWOFOLD_KERNEL_SUFFIX),
    kernel<8>("gemv-affine8" TWOFOLD_KERNEL_SUFFIX),
};

}  // namespace

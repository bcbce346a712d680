// Products of affine codes of 2 to 8 bits with a few rows of activations.
#include "kernels/avx512vnni/gemv.h"
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
  return {name,    twofold::Isa::kAvx512Vnni,     1, 4, accepts<kBits>,
          nullptr, gemv_rows<AffineValues<kBits>>};
}

constexpr Kernel kKernels[] = {
    kernel<2>("gemv-affine2-avx512vnni"), kernel<3>("gemv-affine3-avx512vnni"),
    kernel<4>("gemv-affine4-avx512vnni"), kernel<5>("gemv-affine5-avx512vnni"),
    kernel<6>("gemv-affine6-avx512vnni"), kernel<7>("gemv-affine7-avx512vnni"),
    kernel<8>("gemv-affine8-avx512vnni"),
};

}  // namespace

namespace twofold {
constinit const KernelList kGemvAffineAvx512Vnni = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold

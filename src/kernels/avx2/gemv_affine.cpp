// Products of affine codes of 2 to 8 bits with a few rows of activations.
#include "kernels/avx2/vec.h"
#include "kernels/pairs/gemv_affine_body.h"

namespace twofold {
constinit const KernelList kGemvAffineAvx2 = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold

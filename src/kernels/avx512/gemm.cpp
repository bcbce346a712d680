// Products with many rows of activations.
#include "kernels/avx512/vec.h"
#include "kernels/pairs/gemm_body.h"

namespace twofold {
constinit const KernelList kGemmAvx512 = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold

// Products of trellises with a few rows of activations.
#include "kernels/avx512/vec.h"
#include "kernels/pairs/gemv_trellis_body.h"

namespace twofold {
constinit const KernelList kGemvTrellisAvx512 = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold

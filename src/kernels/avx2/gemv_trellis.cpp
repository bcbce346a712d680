// Products of trellises with a few rows of activations.
#include "kernels/avx2/vec.h"
#include "kernels/pairs/gemv_trellis_body.h"

namespace twofold {
constinit const KernelList kGemvTrellisAvx2 = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold

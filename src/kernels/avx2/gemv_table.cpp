// Products of codes into tables with a few rows of activations.
#include "kernels/avx2/vec.h"
#include "kernels/pairs/gemv_table_body.h"

namespace twofold {
constinit const KernelList kGemvTableAvx2 = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold

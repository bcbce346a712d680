#include "tensor/simd/avx2/vec.h"
#include "tensor/simd/ops_body.h"
#include "tensor/simd/tables.h"

namespace twofold {

const Ops kOpsAvx2 = kVectorOps;

}  // namespace twofold

#include "tensor/simd/avx512/vec.h"
#include "tensor/simd/ops_body.h"
#include "tensor/simd/tables.h"

namespace twofold {

const Ops kOpsAvx512 = kVectorOps;

}  // namespace twofold

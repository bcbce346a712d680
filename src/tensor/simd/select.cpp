#include "tensor/simd/select.h"

#include "tensor/ops.h"

namespace twofold {

#if defined(TWOFOLD_X86_TABLES)

const Ops& ops(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return kOpsScalar;
    case Isa::kAvx2:
      return kOpsAvx2;
    case Isa::kAvx512:
    case Isa::kAvx512Vnni:
    case Isa::kAmx:
      return kOpsAvx512;
  }
  return kOpsScalar;
}

const GemmTiles& gemm_tiles(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return kGemmTilesScalar;
    case Isa::kAvx2:
      return kGemmTilesAvx2;
    case Isa::kAvx512:
    case Isa::kAvx512Vnni:
    case Isa::kAmx:
      return kGemmTilesAvx512;
  }
  return kGemmTilesScalar;
}

const GemmTiles64& gemm_tiles64(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return kGemmTiles64Scalar;
    case Isa::kAvx2:
      return kGemmTiles64Avx2;
    case Isa::kAvx512:
    case Isa::kAvx512Vnni:
    case Isa::kAmx:
      return kGemmTiles64Avx512;
  }
  return kGemmTiles64Scalar;
}

const SplitTiles* split_tiles(Isa isa) { return isa == Isa::kAmx ? &kSplitTilesAmx : nullptr; }

#else  // other machines have the portable level only

const Ops& ops(Isa) { return kOpsScalar; }
const GemmTiles& gemm_tiles(Isa) { return kGemmTilesScalar; }
const GemmTiles64& gemm_tiles64(Isa) { return kGemmTiles64Scalar; }
const SplitTiles* split_tiles(Isa) { return nullptr; }

#endif

}  // namespace twofold

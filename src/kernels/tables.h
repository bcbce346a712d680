// The constant tables that the files under kernels/<isa>/ export. Plain data only.
#pragma once

#include "kernels/kernel.h"

namespace twofold {

/// Rounds x [n] in blocks of `block` columns; values [n rounded up to kInt8Padding] (zero beyond
/// n), scales [blocks], sums [n / kSumColumns rounded up] of the values.
using RoundRowFn = void (*)(const float* x, int64_t n, int64_t block, int8_t* values, float* scales,
                            int32_t* sums);

struct KernelList {
  const Kernel* kernels;
  int64_t count;
};

struct RowRounding {
  RoundRowFn round;
};

extern const KernelList kKernelsScalar;
extern const KernelList kGemvAffineAvx2;
extern const KernelList kGemvTableAvx2;
extern const KernelList kGemvTrellisAvx2;
extern const KernelList kGemmAvx2;
extern const KernelList kGemvAffineAvx512;
extern const KernelList kGemvTableAvx512;
extern const KernelList kGemvTrellisAvx512;
extern const KernelList kGemmAvx512;
extern const KernelList kGemvAffineAvx512Vnni;
extern const KernelList kGemvTableAvx512Vnni;
extern const KernelList kGemvPlanesAvx512Vnni;
extern const KernelList kGemvTrellisAvx512Vnni;
extern const KernelList kGemmAvx512Vnni;
extern const KernelList kGemmAmx;

extern const RowRounding kRowRoundingScalar;
extern const RowRounding kRowRoundingAvx2;
extern const RowRounding kRowRoundingAvx512;

}  // namespace twofold

// The instruction-set levels for which code is compiled. Plain data: files of single instruction
// sets include it.
#pragma once

namespace twofold {

/// Lowest first; each level includes those before it.
enum class Isa {
  kScalar,      // the x86-64 baseline; on other machines plain C++
  kAvx2,        // AVX2, FMA, F16C, BMI2
  kAvx512,      // AVX-512 F, BW, DQ, VL, CD
  kAvx512Vnni,  // AVX-512 VNNI, VBMI, GFNI: together in all CPUs that have VBMI and VNNI
  kAmx,         // AMX tiles with int8 and bfloat16, permitted by the operating system
};

}  // namespace twofold

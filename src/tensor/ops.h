// Vector operations of a transformer, one table per instruction set. All take plain pointers to
// float32 and lengths in elements; all are pure functions of their arguments; between instruction
// sets results differ by float rounding only. Polynomials for exp, tanh, erf stay within 4 ulp of
// the range used, or 1e-7 absolute, and are tested against the C library.
#pragma once

#include "base/cpu.h"
#include "tensor/ops_table.h"

namespace twofold {

/// The table for `isa`; the CPU must have it.
const Ops& ops(Isa isa);

}  // namespace twofold

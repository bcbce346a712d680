// The tables of GEMM register blocks for an instruction set; private to this layer.
#pragma once

#include "base/cpu.h"
#include "tensor/simd/tables.h"

namespace twofold {

/// The tables for `isa`; the CPU must have it.
const GemmTiles& gemm_tiles(Isa isa);
const GemmTiles64& gemm_tiles64(Isa isa);

/// The products of split floats of `isa`; null if it has none.
const SplitTiles* split_tiles(Isa isa);

}  // namespace twofold

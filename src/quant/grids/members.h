// The rows of the grid registry, one file each.
#pragma once

#include "quant/grid.h"

namespace twofold {

const Grid& uniform_grid();
const Grid& pot_grid();
const Grid& apot_grid();
const Grid& binary_grid();
const Grid& two_step_grid();
const Grid& levels_grid();
const Grid& trellis_grid();

}  // namespace twofold

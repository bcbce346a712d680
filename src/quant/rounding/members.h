// The rows of the rounding registry, one file each.
#pragma once

#include "quant/rounding.h"

namespace twofold {

const Rounding& nearest_rounding();
const Rounding& ldlq_rounding();
const Rounding& coordinate_rounding();

}  // namespace twofold

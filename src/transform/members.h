// The rows of the transform registry, one file each.
#pragma once

#include "transform/transform.h"

namespace twofold {

const Transform& none_transform();
const Transform& hadamard_transform();
const Transform& quip_transform();
const Transform& awq_transform();

}  // namespace twofold

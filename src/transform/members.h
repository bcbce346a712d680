// The rows of the transform registry, one file each.
#pragma once

#include "transform/transform.h"

namespace twofold {

const Transform& none_transform();

}  // namespace twofold

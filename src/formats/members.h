// The rows of the format registry.
#pragma once

#include "formats/format.h"

namespace twofold {

const FormatFamily& dense_family();
const FormatFamily& affine_family();
const FormatFamily& table_family();
const FormatFamily& row_table_family();
const FormatFamily& plane_family();
const FormatFamily& trellis_family();

}  // namespace twofold

// Binary coding in its two stored forms, which hold the same values: tables of sorted levels and
// bit planes.
#pragma once

#include "quant/quantized_matrix.h"

namespace twofold {

/// The planes of a matrix as tables of increasing levels. Exact.
/// @throws Error(kInvalidArgument) if `q` has no planes.
QuantizedMatrix planes_to_table(const QuantizedMatrix& q);

/// A matrix whose every table is a binary coding, sums of signs times integers, as planes. Exact.
/// @throws Error(kInvalidArgument) naming the first table that is none.
QuantizedMatrix table_to_planes(const QuantizedMatrix& q);

}  // namespace twofold

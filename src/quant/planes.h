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

/// The scheme of `uniform_to_planes` for a matrix of scheme `uniform`.
Scheme uniform_planes_scheme(const Scheme& uniform);
/// The offset of one set of parameters there, in binary16; infinite if it is beyond.
float uniform_planes_offset(float scale, float zero, int bits);

/// A matrix of equally spaced values as planes: n_i = 2^i halves of the scale and, for each set of
/// parameters, the offset scale ((2^bits - 1)/2 - zero). Codes stay. Exact wherever the offset is a
/// binary16 number and its sums are float32 numbers; otherwise the offset is rounded to binary16.
/// @throws Error(kInvalidArgument) if `q` is no affine matrix of at most 4 bits with scales per row
/// or group, Error(kUnsupported) if an offset is beyond binary16.
QuantizedMatrix uniform_to_planes(const QuantizedMatrix& q);

}  // namespace twofold

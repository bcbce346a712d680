// From a packed matrix to what kernels read, and from its format to the kernels that can.
#pragma once

#include <optional>

#include "formats/format.h"
#include "kernels/kernel.h"

namespace twofold {

/// The kind of weights a format holds; nothing if no integer kernel can exist for it: dense
/// formats, float levels, more than 6 bits of table per row, groups that activations are not cut
/// at.
std::optional<WeightKind> weight_kind(const Format& format);

/// @param packed of a format that has a weight_kind; its bytes must outlive the view.
PackedView packed_view(const PackedMatrix& packed);

}  // namespace twofold

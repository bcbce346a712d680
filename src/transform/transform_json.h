// TransformSpec as JSON: how a quantized folder records the transform of a matrix.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "transform/transform.h"

namespace twofold {

/// Null for a matrix stored in the model's own basis. Seeds are exact (64-bit integers), scales too
/// (every float32 is a double).
nlohmann::json transform_to_json(const TransformSpec& spec);

/// The inverse. @throws Error(kCorruptFile) naming `where`, the field and what was found; whether
/// the transform is known and fits its matrix is checked when it is prepared.
TransformSpec transform_from_json(const nlohmann::json& json, std::string_view where);

}  // namespace twofold

// TransformSpec as JSON: how a quantized folder records the transform of a matrix.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "transform/transform.h"

namespace twofold {

/// A transform as a folder records it: numbers here, the scale vector in a tensor of its own.
struct StoredTransform {
  TransformSpec spec;              // without input_scale
  std::string input_scale_tensor;  // name of the tensor that holds it; empty: there is none
};

/// Null for a matrix stored in the model's own basis. Seeds are exact (64-bit integers).
/// @param scale_tensor where `spec.input_scale` is stored; not recorded if that is empty.
nlohmann::json transform_to_json(const TransformSpec& spec, std::string_view scale_tensor);

/// The inverse. @throws Error(kCorruptFile) naming `where`, the field and what was found; whether
/// the transform is known and fits its matrix is checked when it is prepared.
StoredTransform transform_from_json(const nlohmann::json& json, std::string_view where);

}  // namespace twofold

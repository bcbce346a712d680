// Transform: an invertible change of basis of a weight matrix and of its input's second moment.
// Stored as seeds and vectors, never as a dense matrix. The input side belongs to the layer input
// (q, k and v share it), its random numbers keyed by the input's name; the output side to the
// matrix. A fitted transform is a value: TransformSpec says all that is needed to apply it again.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "tensor/tensor.h"

namespace twofold {

/// What a quantized matrix stores of its transform. `name` is a row of `all_transforms`.
struct TransformSpec {
  std::string name = "none";
  uint64_t input_seed = 0, output_seed = 0;
  std::vector<float> input_scale;  // [cols], empty if the transform has none
  friend bool operator==(const TransformSpec&, const TransformSpec&) = default;
};

/// One entry of the registry.
struct Transform {
  std::string_view name, paper, help;
  /// Fits for a weight [rows, cols]; `moment` is the input's second moment [cols, cols] or empty.
  TransformSpec (*fit)(Matrix<const float> weight, Matrix<const double> moment, uint64_t seed,
                       std::string_view input_name, std::string_view matrix_name);
  /// W into the stored basis, in place, and back.
  void (*apply_weight)(const TransformSpec&, Matrix<float> weight);
  void (*undo_weight)(const TransformSpec&, Matrix<float> weight);
  /// H into the stored basis, in place.
  void (*apply_moment)(const TransformSpec&, Matrix<double> moment);
  /// Activations x [m, cols] into the stored basis, and outputs y [m, rows] back, in place.
  void (*apply_input)(const TransformSpec&, Matrix<float> x);
  void (*undo_output)(const TransformSpec&, Matrix<float> y);
  /// Bytes that storing the specification costs beside the packed matrix.
  int64_t (*stored_bytes)(const TransformSpec&);
};

std::span<const Transform> all_transforms();
/// @throws Error(kInvalidArgument) listing the names.
const Transform& find_transform(std::string_view name);

}  // namespace twofold

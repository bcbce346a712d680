// A transform with at most three parts: a scale vector at the input, a rotation of the input, a
// rotation of the output. V = R_in diag(scale), U = R_out.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "transform/rotation.h"
#include "transform/transform.h"

namespace twofold {

/// @param scale  [cols] or empty.
/// @param input  of cols numbers, or null.  @param output  of rows numbers, or null.
std::unique_ptr<const PreparedTransform> make_two_sided(std::vector<float> scale,
                                                        std::unique_ptr<const Rotation> input,
                                                        std::unique_ptr<const Rotation> output);

/// Checks a scale vector of untrusted origin: empty, or [cols] numbers, finite and above 0.
/// @throws Error(kCorruptFile) naming the transform and what was found.
void check_input_scale(const TransformSpec& spec, int64_t cols, bool wanted);

/// `value` as a scale that can be stored: binary16, normal, above 0.
float storable_scale(double value);

/// Sum of squares of each column over all matrices, [cols].
std::vector<double> column_energy(std::span<const Matrix<const float>> weights, int64_t cols);

}  // namespace twofold

// The proxy loss of a quantized matrix: the expected squared error of its layer's output,
// tr(E H E^T) with E the error of the weights and H the second moment of the layer's input.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/context.h"
#include "quant/method.h"
#include "tensor/tensor.h"

namespace twofold {

/// tr(E H E^T) / tr(W H W^T) with E = restored - W; H = identity if `h` is empty. 0 for W = 0.
double relative_loss(Matrix<const float> weight, Matrix<const float> restored,
                     Matrix<const double> h, const Context& ctx);

/// The sum of tr(E H E^T) over `weights` when the grid of `choice`, fitted with importance diag(H),
/// rounds them to nearest with columns multiplied by `input_scale`, and they are divided again.
/// @param weights [rows_i, cols] each.  @param h [cols, cols].  @param input_scale [cols], not 0.
double nearest_loss(const MethodChoice& choice, std::span<const Matrix<const float>> weights,
                    Matrix<const double> h, std::span<const float> input_scale, const Context& ctx);

}  // namespace twofold

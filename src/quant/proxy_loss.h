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

/// Gives one row of a restored matrix, out [cols]. Thread-safe.
using RestoredRow = std::function<void(int64_t row, std::span<float> out)>;

struct ProxyLoss {
  double loss = 0;    // tr(E H E^T)
  double energy = 0;  // tr(W H W^T)
  double relative() const { return energy > 0 ? loss / energy : 0; }
};

/// The loss with E = restored - W; H = identity if `h` is empty.
ProxyLoss proxy_loss(Matrix<const float> weight, const RestoredRow& restored,
                     Matrix<const double> h, const Context& ctx);

/// The sum of tr(E H E^T) over `weights` when the grid of `choice`, fitted with importance diag(H),
/// rounds them to nearest with columns multiplied by `input_scale`, and they are divided again.
/// @param weights [rows_i, cols] each.  @param h [cols, cols].  @param input_scale [cols], not 0.
double nearest_loss(const MethodChoice& choice, std::span<const Matrix<const float>> weights,
                    Matrix<const double> h, std::span<const float> input_scale, const Context& ctx);

}  // namespace twofold

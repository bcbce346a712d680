// The check of int8 activations that a quantization makes for each matrix: how many columns share a
// scale where the finished model runs.
#pragma once

#include "base/context.h"
#include "formats/format.h"
#include "tensor/tensor.h"
#include "transform/transform.h"

namespace twofold {

/// Largest share of the loss by quantization that rounding its activations may add.
inline constexpr double kActivationLossShare = 0.02;

/// The most columns per scale, 128, 64 or 32, with which rounding activations to int8 adds at most
/// kActivationLossShare of `proxy_loss` (as Solution) to the error of the outputs, measured on
/// `sample`; 32 if none does.
/// @param sample rows of calibration inputs, [n, cols], in the model's basis.
int64_t choose_activation_block(const PackedMatrix& packed, const TransformSpec& transform,
                                Matrix<const float> sample, double proxy_loss, const Context& ctx);

}  // namespace twofold

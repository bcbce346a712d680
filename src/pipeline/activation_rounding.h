// The check of int8 activations that a quantization makes for each matrix: how many columns share a
// scale where the finished model runs, and of how many digits they are.
#pragma once

#include "base/context.h"
#include "base/json.h"
#include "formats/format.h"
#include "kernels/int8_activations.h"
#include "model/family.h"
#include "tensor/tensor.h"
#include "transform/transform.h"

namespace twofold {

/// Largest share of the loss by quantization that rounding its activations may add. The divergence
/// of a model grows by a little more than its matrices' shares.
inline constexpr double kActivationLossShare = 0.015;
/// Squared error of the outputs, relative to them, up to which one digit serves whatever the loss
/// by quantization: twice that of normal numbers in blocks of 32.
inline constexpr double kSmallActivationLoss = 6e-5;

/// The cheapest rounding of activations to int8 that adds at most kActivationLossShare of
/// `proxy_loss` (as Solution) to the error of the outputs, measured on `sample`: blocks of 128, 64
/// or 32 columns; if that is not enough and the error is above kSmallActivationLoss, two digits.
/// @param sample rows of calibration inputs, [n >= 1, cols], in the model's basis.
ActivationRounding choose_activation_rounding(const PackedMatrix& packed,
                                              const TransformSpec& transform,
                                              Matrix<const float> sample, double proxy_loss,
                                              const Context& ctx);

/// The same where no inputs were collected: blocks as for normal inputs. A table that serves as
/// head gets two digits if blocks of 32 are not enough: its inputs have outliers, no later layer
/// averages its errors, and it multiplies one row where a block multiplies a whole prompt.
ActivationRounding choose_activation_rounding(const Format& format, Role role, double proxy_loss);

/// Adds what differs from the default to a tensor's entry in config.json, in place of what is
/// there.
void store_rounding(const ActivationRounding& rounding, OrderedJson& tensor);
ActivationRounding stored_rounding(const OrderedJson& tensor);

}  // namespace twofold

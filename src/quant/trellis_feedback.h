// TrellisFeedback from the factor of a block of columns: how the errors of a row act on the columns
// of the same tile after them.
#pragma once

#include <optional>

#include "quant/simd/trellis_pass.h"
#include "tensor/tensor.h"

namespace twofold {

/// The loss of the errors e of a row in a block is |e R|^2, R upper triangular, and (e R)_j =
/// R_jj (e_j + sum over i < j of e_i R_ij / R_jj): what LDLQ feeds back between columns
/// (arXiv:2307.13304, Sec. 3.1). A way through a trellis can carry one number, so the quotients are
/// taken as from_i to_j, the best product for the loss of equal errors; where H is a diagonal and
/// one direction more, it is exact. R_jj is the weight of column j.
/// @param lower R^T, [n <= 16, n].
/// @return nothing where both would save less than kLeastSaving of the loss of equal errors.
std::optional<TrellisFeedback> fit_trellis_feedback(Matrix<const double> lower);

/// Carrying the sums takes two to three times the time of a tile.
inline constexpr double kLeastSaving = 0.03;

}  // namespace twofold

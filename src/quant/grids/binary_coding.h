// Binary coding (BCQ): w is about alpha_1 b_1 + ... + alpha_k b_k with b_i = -1 or 1 and alphas per
// row or group.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "quant/grids/row_table.h"
#include "quant/grids/sorted_row.h"

namespace twofold {

using Alphas = std::array<double, kMaxPlanes>;  // unused ones are 0

/// Greedy start and alternating refinement (Xu et al., arXiv:1802.00150, Sec. 3; LUT-GEMM,
/// arXiv:2206.09557). Greedy: plane by plane b = sign(r), alpha = weighted mean of |r|, r -= alpha
/// b. A round: alphas by weighted least squares for fixed signs, in decreasing magnitude; then
/// signs by the nearest of the 2^planes sums. Stops early when a round changes no sign.
Alphas fit_alphas(const SortedRow& row, int planes, int rounds);

/// The 2^planes sums in increasing order.
void alpha_sums(const Alphas& alphas, int planes, std::vector<double>& sums);

/// Weighted squared error of rounding to the nearest sum.
double alpha_loss(const SortedRow& row, const Alphas& alphas, int planes);

/// alphas as step times integers n_i with sum n_i <= 127: the least squared error among the steps
/// that give sums of 64 to 127. The step is as `store` returns it, a number that can be stored.
template <class Store>
Table integer_alphas(const Alphas& alphas, int planes, const Store& store);

/// A binary coding of equally spaced values scale (code - zero): alpha_i = scale 2^i / 2, offset =
/// scale ((2^bits - 1)/2 - zero); bit i of the code is the sign of plane i. Exact.
struct LinearCoding {
  Alphas alphas = {};
  double offset = 0;
};
LinearCoding linear_as_binary(double scale, double zero, int bits);

template <class Store>
Table integer_alphas(const Alphas& alphas, int planes, const Store& store) {
  double total = 0;
  for (double alpha : alphas) total += alpha;
  Table best;
  double best_error = -1;
  for (int wanted = 64; total > 0 && wanted <= kLargestLevel; ++wanted) {
    Table table;
    table.step = store(total / wanted);
    double error = 0;
    int sum = 0;
    for (size_t i = 0; i < static_cast<size_t>(planes); ++i) {
      table.n[i] = static_cast<int>(alphas[i] / table.step + 0.5);
      sum += table.n[i];
      const double difference = alphas[i] - table.step * table.n[i];
      error += difference * difference;
    }
    if (sum <= kLargestLevel && (best_error < 0 || error < best_error)) {
      best = table;
      best_error = error;
    }
  }
  return best;
}

}  // namespace twofold

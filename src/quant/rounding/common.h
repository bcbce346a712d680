// What roundings share: settings that several have (one meaning each), and the steps before a loop.
#pragma once

#include <span>
#include <vector>

#include "quant/rounding.h"

namespace twofold {

ParamSpec importance_param();        // "importance": equal | diagonal | inverse
ParamSpec importance_power_param();  // "importance-power"
/// Rounding::weighs_by_moment by importance_param.
bool weighs_by_moment(const Params& params);
ParamSpec order_param();    // "order": natural | diagonal | reversed
ParamSpec explore_param();  // "explore": loop | weights | off
ParamSpec passes_param();   // "passes": not set, or a number
ParamSpec refits_param();   // "refits"

/// The importance of each column that grids are fitted with, [cols]; empty (equal) without a
/// moment. "inverse" is LeanQuant's (1 / [H^-1]_jj)^power (arXiv:2407.10032), of mean 1.
std::vector<float> column_importance(const RoundingInput& input, const Context& ctx);

/// Fits the parameters of all groups to `weight`.  @param importance [weight.cols] or empty.
void fit_groups(FittedGrid& grid, Matrix<const float> weight, std::span<const float> importance,
                ThreadPool& pool);

/// `fit_groups`, and every weight to the value that its grid gives it by itself: while rows are in
/// the cache, if they share no parameters.  @return codes [rows, cols].
std::vector<uint16_t> fit_and_round(FittedGrid& grid, Matrix<const float> weight,
                                    std::span<const float> importance, const Context& ctx);

/// Calls body(col, columns) for each group of columns.
template <class Body>
void for_groups(const FittedGrid& grid, int64_t cols, const Body& body) {
  const int64_t group = grid.group() > 0 ? grid.group() : cols;
  for (int64_t col = 0; col < cols; col += group) body(col, std::min(group, cols - col));
}

}  // namespace twofold

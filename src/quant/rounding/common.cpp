#include "quant/rounding/common.h"

#include <algorithm>
#include <cmath>

#include "quant/row_chunks.h"

namespace twofold {

ParamSpec importance_param() {
  return {.name = "importance",
          .kind = ParamKind::kChoice,
          .fallback = "diagonal",
          .help =
              "weight of a column's error when a grid is fitted: equal, the diagonal of its "
              "input's second moment H, or (1 / [H^-1]_jj)^importance-power",
          .choices = {"equal", "diagonal", "inverse"},
          .unread = [](const ParamUse& use) { return use.importance_unread; }};
}

ParamSpec importance_power_param() {
  return {.name = "importance-power",
          .kind = ParamKind::kFloat,
          .fallback = "3",
          .help = "power of importance inverse",
          .choices = {},
          .min = 0,
          .max = 16,
          .unread = [](const ParamUse& use) {
            const bool inverse = use.params.get_choice("importance") == "inverse";
            return inverse ? use.importance_unread : "it goes with --importance inverse";
          }};
}

bool weighs_by_moment(const Params& params) { return params.get_choice("importance") != "equal"; }

ParamSpec order_param() {
  return {.name = "order",
          .kind = ParamKind::kChoice,
          .fallback = "natural",
          .help =
              "columns are rounded as stored, by decreasing diagonal of H (act-order), or from "
              "last to first; but for natural, groups are fitted beforehand",
          .choices = {"natural", "diagonal", "reversed"}};
}

ParamSpec explore_param() {
  return {.name = "explore",
          .kind = ParamKind::kChoice,
          .fallback = "weights",
          .help =
              "scale of each row: the best of several in true loss (loop), the grid's own "
              "search in the weights (weights), or no search (off)",
          .choices = {"loop", "weights", "off"}};
}

ParamSpec passes_param() {
  return {.name = "passes",
          .kind = ParamKind::kInt,
          .fallback = "",
          .help =
              "most greedy passes over the columns, which end when nothing changes (not set: "
              "none after ldlq, 10 for coordinate)",
          .choices = {},
          .min = 0,
          .max = 1000};
}

std::vector<float> column_importance(const RoundingInput& input, const Context& ctx) {
  const std::string kind = input.params.get_choice("importance");
  if (input.moment == nullptr || kind == "equal") return {};
  if (kind == "diagonal") return input.moment->diagonal();
  std::vector<double> power = input.moment->inverse_diagonal(ctx);
  const double least = *std::min_element(power.begin(), power.end());
  const double exponent = input.params.get_float("importance-power");
  double sum = 0;
  for (double& value : power) sum += value = std::pow(least / value, exponent);
  const double mean = sum / static_cast<double>(power.size());
  std::vector<float> importance(power.size());
  for (size_t j = 0; j < power.size(); ++j) importance[j] = static_cast<float>(power[j] / mean);
  return importance;
}

void fit_groups(FittedGrid& grid, Matrix<const float> weight, std::span<const float> importance,
                ThreadPool& pool) {
  const auto fit = [&](int64_t col, int64_t cols, ThreadPool& workers) {
    const std::span<const float> part =
        importance.empty()
            ? importance
            : importance.subspan(static_cast<size_t>(col), static_cast<size_t>(cols));
    grid.fit(col, {weight.data + col, weight.rows, cols, weight.stride}, part, workers);
  };
  // The rows of one group of a small matrix are too little work to share: groups are shared then.
  constexpr int64_t kManyRows = 64 * kRowChunk;
  if (grid.group() == 0 || weight.rows >= kManyRows) {
    for_groups(grid, weight.cols, [&](int64_t col, int64_t cols) { fit(col, cols, pool); });
    return;
  }
  pool.run(ceil_div(weight.cols, grid.group()), [&](int64_t item, int /*worker*/) {
    ThreadPool alone(1, false);
    const int64_t col = item * grid.group();
    fit(col, std::min(grid.group(), weight.cols - col), alone);
  });
}

}  // namespace twofold

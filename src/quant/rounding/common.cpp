#include "quant/rounding/common.h"

#include <algorithm>
#include <cmath>

#include "base/large_pages.h"
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
  return {
      .name = "passes",
      .kind = ParamKind::kInt,
      .fallback = "",
      .help =
          "most greedy passes over the columns, which end when nothing changes, in each round of "
          "--refits if there are any (not set: none after ldlq, 10 for coordinate)",
      .choices = {},
      .min = 0,
      .max = 1000};
}

ParamSpec refits_param() {
  return {.name = "refits",
          .kind = ParamKind::kInt,
          .fallback = "0",
          .help =
              "rounds after the loop: the grid's parameters to the least true loss with the codes, "
              "then greedy passes",
          .choices = {},
          .min = 0,
          .max = 100,
          .unread = [](const ParamUse& use) { return use.refit_unread; }};
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

namespace {

std::span<const float> part(std::span<const float> importance, int64_t col, int64_t cols) {
  if (importance.empty()) return importance;
  return importance.subspan(static_cast<size_t>(col), static_cast<size_t>(cols));
}

/// Calls body(row_begin, rows, col, cols) for each group of each chunk of rows: a chunk is a task,
/// or, where chunks are few, a group of one.
template <class Body>
void for_tiles(const FittedGrid& grid, Matrix<const float> weight, ThreadPool& pool,
               const Body& body) {
  constexpr int64_t kManyChunks = 64;
  const int64_t chunks = ceil_div(weight.rows, kRowChunk);
  const int64_t group = grid.group() > 0 ? grid.group() : weight.cols;
  const int64_t groups = ceil_div(weight.cols, group);
  const int64_t per_task = chunks < kManyChunks ? 1 : groups;
  pool.run(chunks * groups / per_task, [&](int64_t task, int /*worker*/) {
    for (int64_t i = task * per_task; i < (task + 1) * per_task; ++i) {
      const int64_t row = i / groups * kRowChunk, col = i % groups * group;
      body(row, std::min(kRowChunk, weight.rows - row), col, std::min(group, weight.cols - col));
    }
  });
}

Matrix<const float> tile(Matrix<const float> weight, int64_t row, int64_t rows, int64_t col,
                         int64_t cols) {
  return {weight.data + row * weight.stride + col, rows, cols, weight.stride};
}

}  // namespace

void fit_groups(FittedGrid& grid, Matrix<const float> weight, std::span<const float> importance,
                ThreadPool& pool) {
  if (grid.rows_sharing() > 1) {
    for_groups(grid, weight.cols, [&](int64_t col, int64_t cols) {
      grid.fit(col, 0, tile(weight, 0, weight.rows, col, cols), part(importance, col, cols), pool);
    });
    return;
  }
  for_tiles(grid, weight, pool, [&](int64_t row, int64_t rows, int64_t col, int64_t cols) {
    ThreadPool alone(1, false);
    grid.fit(col, row, tile(weight, row, rows, col, cols), part(importance, col, cols), alone);
  });
}

std::vector<uint16_t> fit_and_round(FittedGrid& grid, Matrix<const float> weight,
                                    std::span<const float> importance, const Context& ctx) {
  const bool fit_first = grid.rows_sharing() > 1;
  if (fit_first) fit_groups(grid, weight, importance, ctx.pool);
  std::vector<uint16_t> codes;
  codes.reserve(static_cast<size_t>(weight.rows * weight.cols));
  prefer_large_pages(std::as_writable_bytes(std::span(codes.data(), codes.capacity())));
  codes.resize(static_cast<size_t>(weight.rows * weight.cols));
  for_tiles(grid, weight, ctx.pool, [&](int64_t row, int64_t rows, int64_t col, int64_t cols) {
    ctx.check_cancelled();
    const Matrix<const float> target = tile(weight, row, rows, col, cols);
    if (!fit_first) {
      ThreadPool alone(1, false);
      grid.fit(col, row, target, part(importance, col, cols), alone);
    }
    std::vector<float> value(static_cast<size_t>(rows * cols));
    grid.round(col, row, target, {codes.data() + row * weight.cols + col, rows, cols, weight.cols},
               {value.data(), rows, cols});
  });
  return codes;
}

}  // namespace twofold

// Every weight to the value the grid gives it by itself, group by group.
#include "quant/rounding/common.h"
#include "quant/rounding/members.h"
#include "quant/row_chunks.h"

namespace twofold {
namespace {

void check(const Params& /*params*/, int64_t /*width*/) {}

RoundingResult run(const RoundingInput& input, FittedGrid& grid, const Context& ctx) {
  const Matrix<const float> weight = input.weight;
  fit_groups(grid, weight, column_importance(input, ctx), ctx.pool);
  std::vector<uint16_t> codes(static_cast<size_t>(weight.rows * weight.cols));
  for_row_chunks(ctx.pool, weight.rows, [&](int64_t begin, int64_t end) {
    const int64_t rows = end - begin;
    const int64_t widest = grid.group() > 0 ? std::min(grid.group(), weight.cols) : weight.cols;
    std::vector<float> value(static_cast<size_t>(rows * widest));
    for_groups(grid, weight.cols, [&](int64_t col, int64_t cols) {
      ctx.check_cancelled();
      grid.round(col, begin, {weight.data + begin * weight.stride + col, rows, cols, weight.stride},
                 {codes.data() + begin * weight.cols + col, rows, cols, weight.cols},
                 {value.data(), rows, cols});
    });
  });
  return {.codes = std::move(codes), .notes = {}};
}

}  // namespace

const Rounding& nearest_rounding() {
  static const Rounding kRounding = {.name = "nearest",
                                     .paper = "",
                                     .help = "each weight to the nearest value of the grid",
                                     .params = {importance_param(), importance_power_param()},
                                     .needs_moment = false,
                                     .weighs_by_moment = weighs_by_moment,
                                     .check = check,
                                     .run = run};
  return kRounding;
}

}  // namespace twofold

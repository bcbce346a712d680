// Every weight to the value the grid gives it by itself, group by group.
#include "quant/rounding/common.h"
#include "quant/rounding/members.h"

namespace twofold {
namespace {

void check(const Params& /*params*/, int64_t /*width*/) {}

RoundingResult run(const RoundingInput& input, FittedGrid& grid, const Context& ctx) {
  return {.codes = fit_and_round(grid, input.weight, column_importance(input, ctx), ctx),
          .notes = {}};
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

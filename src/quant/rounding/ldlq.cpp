// LDLQ (arXiv:2307.13304, Sec. 3.1), which is GPTQ (arXiv:2210.17323) on the same grid, with the
// greedy passes of LDLQ-RG; and coordinate descent, which is the same passes from nearest rounding.
#include "base/error.h"
#include "quant/rounding/column_loop.h"
#include "quant/rounding/common.h"
#include "quant/rounding/members.h"

namespace twofold {
namespace {

ColumnOrder column_order(const Params& params) {
  const std::string name = params.get_choice("order");
  if (name == "diagonal") return ColumnOrder::kDiagonal;
  return name == "reversed" ? ColumnOrder::kReversed : ColumnOrder::kNatural;
}

int64_t passes(const Params& params, int64_t otherwise) {
  return params.has("passes") ? params.get_int("passes") : otherwise;
}

RoundingResult run_ldlq(const RoundingInput& input, FittedGrid& grid, const Context& ctx) {
  const bool preclamp = input.params.get_choice("preclamp") == "on";
  const ColumnLoopOptions options = {
      .feedback = true,
      .order = column_order(input.params),
      .groups_beforehand = preclamp || input.params.get_choice("static-groups") == "on",
      .preclamp = preclamp,
      .passes = passes(input.params, 0),
      .explore = input.params.get_choice("explore") == "loop"};
  return ColumnLoop(input, grid, options, ctx).run();
}

RoundingResult run_coordinate(const RoundingInput& input, FittedGrid& grid, const Context& ctx) {
  const ColumnLoopOptions options = {.feedback = false,
                                     .order = column_order(input.params),
                                     .groups_beforehand = true,
                                     .passes = passes(input.params, 10),
                                     .explore = input.params.get_choice("explore") == "loop"};
  return ColumnLoop(input, grid, options, ctx).run();
}

}  // namespace

const Rounding& ldlq_rounding() {
  static const Rounding kRounding = {
      .name = "ldlq",
      .paper = "arXiv:2307.13304",
      .help = "column by column, each corrected by the errors of those before it (GPTQ, LDLQ)",
      .params = {importance_param(),
                 importance_power_param(),
                 order_param(),
                 {.name = "static-groups",
                  .kind = ParamKind::kChoice,
                  .fallback = "off",
                  .help = "fit all groups beforehand, to the original weights, instead of each to "
                          "the weights as corrected when it is reached",
                  .choices = {"on", "off"}},
                 {.name = "preclamp",
                  .kind = ParamKind::kChoice,
                  .fallback = "off",
                  .help = "clamp weights to the range of their grid before the loop, as QuIP "
                          "publishes it; feedback then never sees what was clipped",
                  .choices = {"on", "off"}},
                 passes_param(),
                 explore_param()},
      .needs_moment = true,
      .run = run_ldlq};
  return kRounding;
}

const Rounding& coordinate_rounding() {
  static const Rounding kRounding = {
      .name = "coordinate",
      .paper = "arXiv:2307.13304",
      .help = "nearest values, then greedy passes: each weight at its best place given the others",
      .params = {importance_param(), importance_power_param(), order_param(), passes_param(),
                 explore_param()},
      .needs_moment = true,
      .run = run_coordinate};
  return kRounding;
}

}  // namespace twofold

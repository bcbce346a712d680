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

std::optional<int64_t> passes(const Params& params) {
  if (!params.has("passes")) return {};
  return params.get_int("passes");
}

ColumnLoopOptions ldlq_options(const Params& params) {
  const bool preclamp = params.get_choice("preclamp") == "on";
  return {.feedback = true,
          .order = column_order(params),
          .groups_beforehand = preclamp || params.get_choice("static-groups") == "on",
          .preclamp = preclamp,
          .passes = passes(params),
          .explore = params.get_choice("explore") == "loop",
          .refits = params.get_int("refits")};
}

ColumnLoopOptions coordinate_options(const Params& params) {
  return {.feedback = false,
          .order = column_order(params),
          .groups_beforehand = true,
          .passes = passes(params).value_or(10),
          .explore = params.get_choice("explore") == "loop",
          .refits = params.get_int("refits")};
}

template <ColumnLoopOptions (*kOptions)(const Params&)>
void check(const Params& params, int64_t width) {
  ColumnLoop::check(kOptions(params), width);
}

template <ColumnLoopOptions (*kOptions)(const Params&)>
RoundingResult run(const RoundingInput& input, FittedGrid& grid, const Context& ctx) {
  return ColumnLoop(input, grid, kOptions(input.params), ctx).run();
}

std::string static_groups_unread(const ParamUse& use) {
  if (use.group == 0) return "there are no groups: --group 0";
  const ColumnLoopOptions options = ldlq_options(use.params);
  if (options.order != ColumnOrder::kNatural) {
    return "groups are fitted beforehand in every order but the natural one";
  }
  return options.preclamp ? "groups are fitted beforehand with --preclamp on" : "";
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
                  .choices = {"on", "off"},
                  .unread = static_groups_unread},
                 {.name = "preclamp",
                  .kind = ParamKind::kChoice,
                  .fallback = "off",
                  .help = "clamp weights to the range of their grid before the loop, as QuIP "
                          "publishes it; feedback then never sees what was clipped",
                  .choices = {"on", "off"}},
                 passes_param(),
                 refits_param(),
                 explore_param()},
      .needs_moment = true,
      .weighs_by_moment = weighs_by_moment,
      .check = check<ldlq_options>,
      .run = run<ldlq_options>};
  return kRounding;
}

const Rounding& coordinate_rounding() {
  static const Rounding kRounding = {
      .name = "coordinate",
      .paper = "arXiv:2307.13304",
      .help = "nearest values, then greedy passes: each weight at its best place given the others",
      .params = {importance_param(), importance_power_param(), order_param(), passes_param(),
                 refits_param(), explore_param()},
      .needs_moment = true,
      .weighs_by_moment = weighs_by_moment,
      .check = check<coordinate_options>,
      .run = run<coordinate_options>};
  return kRounding;
}

}  // namespace twofold

// Rounding: walks the columns of a matrix in some order and asks the grid for values.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "quant/conditioned_moment.h"
#include "quant/grid.h"

namespace twofold {

struct RoundingInput {
  Matrix<const float> weight;                 // [rows, cols], in the stored basis
  const ConditionedMoment* moment = nullptr;  // in the stored basis; null if not known
  Params params;                              // complete for Rounding::params
};

struct RoundingResult {
  std::vector<uint16_t> codes;     // [rows, cols]
  std::vector<std::string> notes;  // what a user should know: damping retried
  double explore_seconds = 0;      // spent on grids that were tried beside the fitted one
};

struct Rounding {
  std::string_view name, paper, help;
  std::vector<ParamSpec> params;
  bool needs_moment;
  /// Whether grids are fitted with an importance of columns that comes from the moment.
  bool (*weighs_by_moment)(const Params& params);
  /// Checks settings against each other and against the width of the grid.
  /// @throws Error(kInvalidArgument) if they do not go together.
  void (*check)(const Params& params, int64_t width);
  /// Fits the grid and rounds. Work is cut into fixed chunks of rows.
  /// @throws Error(kInvalidArgument) as `check`.
  RoundingResult (*run)(const RoundingInput& input, FittedGrid& grid, const Context& ctx);
};

std::span<const Rounding> all_roundings();
const Rounding& find_rounding(std::string_view name);

}  // namespace twofold

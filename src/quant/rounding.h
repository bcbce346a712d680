// Rounding: walks the columns of a matrix in some order and asks the grid for values.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "quant/grid.h"

namespace twofold {

/// H = mean of x x^T over calibration tokens, [cols, cols], symmetric.
struct SecondMoment {
  int64_t cols = 0;
  int64_t tokens = 0;
  std::vector<double> h;
};

struct RoundingInput {
  Matrix<const float> weight;            // [rows, cols], in the stored basis
  const SecondMoment* moment = nullptr;  // in the stored basis; null if not needed
  Params params;                         // complete for Rounding::params
};

struct Rounding {
  std::string_view name, paper, help;
  std::vector<ParamSpec> params;
  bool needs_moment;
  /// Fits the grid and rounds; returns codes [rows, cols]. Work is cut into fixed chunks of rows.
  std::vector<uint16_t> (*run)(const RoundingInput& input, FittedGrid& grid, const Context& ctx);
};

std::span<const Rounding> all_roundings();
const Rounding& find_rounding(std::string_view name);

}  // namespace twofold

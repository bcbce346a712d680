#include "quant/grids/common.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "base/float16.h"

namespace twofold {

ParamSpec scale_per_param() {
  return {.name = "scale-per",
          .kind = ParamKind::kChoice,
          .fallback = "row",
          .help = "one scale for the whole tensor, or one per row (per group if there are groups)",
          .choices = {"tensor", "row"}};
}

ParamSpec eps_param() {
  return {.name = "eps",
          .kind = ParamKind::kFloat,
          .fallback = "0",
          .help = "least scale: smaller ones are raised to it",
          .choices = {},
          .min = 0,
          .max = 1e4};
}

ParamSpec range_param() {
  return {.name = "range",
          .kind = ParamKind::kIntRange,
          .fallback = "",
          .help = "integers LO,HI of the first rounding step, as the PoT paper counts: -16,15"};
}

ParamSpec scale_search_param() {
  return {.name = "scale-search",
          .kind = ParamKind::kChoice,
          .fallback = "none",
          .help =
              "scale from the largest weight, or the best of 25 factors 0.45 to 1.05 of it in "
              "squared error, weighted by the inputs' second moments if they are known",
          .choices = {"none", "mse"}};
}

Sharing scale_sharing(const GridRequest& request) {
  const bool tensor = request.params.get_choice("scale-per") == "tensor";
  if (tensor && request.group > 0) {
    fail(ErrorCode::kInvalidArgument, "--scale-per tensor",
         "does not go with --group {}: use --group 0 or --scale-per row", request.group);
  }
  if (tensor) return Sharing::kMatrix;
  return request.group > 0 ? Sharing::kGroup : Sharing::kRow;
}

void check_bits(const Grid& grid, const GridRequest& request) {
  if (request.bits < grid.min_bits || request.bits > grid.max_bits) {
    fail(ErrorCode::kInvalidArgument, "--bits", "grid {} has {} to {} bits, found {}", grid.name,
         grid.min_bits, grid.max_bits, request.bits);
  }
  const int needed = grid.needed_bits(request.params);
  if (needed > request.bits) {
    fail(ErrorCode::kInvalidArgument, "--bits", "range {} needs {} bits, found {}",
         request.params.get_choice("range"), needed, request.bits);
  }
}

float stored_scale(float scale, Sharing sharing, std::string_view where, int64_t row) {
  if (sharing == Sharing::kMatrix) {
    if (!std::isfinite(scale)) {
      fail(ErrorCode::kUnsupported, where, "the scale overflows binary32");
    }
    return scale;
  }
  constexpr float kLeastNormal = 0x1p-14f;
  constexpr float kLeast = 0x1p-24f;
  if (scale > 0 && scale < kLeastNormal) return std::ceil(scale / kLeast) * kLeast;
  const float rounded = round_to_float16(scale);
  if (!std::isfinite(rounded)) {
    fail(ErrorCode::kUnsupported, where, "row {}: scale {} is beyond binary16 (65504)", row, scale);
  }
  return rounded;
}

float max_magnitude(std::span<const float> row) {
  float result = 0;
  for (float w : row) result = std::max(result, std::fabs(w));
  return result;
}

int64_t parameter_set(Sharing sharing, int64_t row, int64_t g, int64_t groups) {
  switch (sharing) {
    case Sharing::kMatrix:
      return 0;
    case Sharing::kRow:
      return row;
    case Sharing::kGroup:
      return row * groups + g;
  }
  return 0;
}

}  // namespace twofold

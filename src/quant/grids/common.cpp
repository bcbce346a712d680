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
              "scale from the largest weight, or the best of 18 to 25 factors on it in squared "
              "error, weighted by the inputs' second moments if they are known",
          .choices = {"none", "mse"},
          .unread = search_unread};
}

ParamSpec storage_param() {
  return {.name = "storage",
          .kind = ParamKind::kChoice,
          .fallback = "codes",
          .help =
              "codes (and tables of levels where these are not equally spaced), or up to 4 bit "
              "planes",
          .choices = {"codes", "planes"}};
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

int bits_are_open(const Params& /*params*/) { return 0; }

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

bool may_search(const Params& params) {
  return !params.has("explore") || params.get_choice("explore") != "off";
}

std::string search_unread(const ParamUse& use) {
  return may_search(use.params) ? "" : "with --explore off no scale is searched for";
}

bool searches_scale(const Params& params) {
  return params.get_choice("scale-search") == "mse" && may_search(params);
}

std::string importance_unread_unless_searched(const Params& params) {
  if (searches_scale(params)) return {};
  return "the grid weighs errors in its search only: --scale-search mse";
}

float max_magnitude(std::span<const float> row) {
  int32_t top = 0;  // magnitudes are ordered as their bits, whose maxima become vectors
  for (float w : row) top = std::max(top, std::bit_cast<int32_t>(w) & 0x7fffffff);
  return std::bit_cast<float>(top);
}

ParameterGrid::ParameterGrid(Scheme scheme, int64_t rows, int64_t cols, std::string where)
    : where_(std::move(where)) {
  q_.rows = rows;
  q_.cols = cols;
  q_.scheme = scheme;
  const size_t sets = static_cast<size_t>(q_.parameter_sets(scheme.scale_sharing));
  q_.scale.resize(sets);
  if (scheme.kind == ValueKind::kAffine && zero_is_stored(scheme.zero)) q_.zero.resize(sets);
  if (scheme.kind == ValueKind::kTable && scheme.has_offset) q_.offset.resize(sets);
}

int64_t ParameterGrid::rows_sharing() const {
  const bool shared = q_.scheme.scale_sharing == Sharing::kMatrix;
  return shared ? q_.rows : 1;
}

void ParameterGrid::take_row(int64_t row, const FittedGrid& from) {
  const QuantizedMatrix& other = dynamic_cast<const ParameterGrid&>(from).q_;
  const int64_t group = std::max<int64_t>(q_.scheme.group, 1);
  const int64_t groups = q_.groups();
  const auto copy = [&](Sharing sharing, int64_t length, const std::vector<float>& source,
                        std::vector<float>& target) {
    if (source.empty()) return;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = q_.parameter_index(sharing, row, g * group) * length;
      std::copy_n(source.begin() + first, length, target.begin() + first);
    }
  };
  copy(q_.scheme.scale_sharing, 1, other.scale, q_.scale);
  copy(q_.scheme.scale_sharing, 1, other.zero, q_.zero);
  copy(q_.scheme.scale_sharing, 1, other.offset, q_.offset);
  copy(q_.scheme.table_sharing, int64_t{1} << q_.scheme.bits, other.levels, q_.levels);
}

void ParameterGrid::values(int64_t col, int64_t row_begin, Matrix<const uint16_t> codes,
                           Matrix<float> value) const {
  const Scheme& scheme = q_.scheme;
  const bool affine = scheme.kind == ValueKind::kAffine;
  const bool stored_zero = affine && zero_is_stored(scheme.zero);
  const float fixed = affine && !stored_zero ? fixed_zero(scheme.zero, scheme.bits) : 0;
  const float power = std::ldexp(1.0f, scheme.level_exponent);
  for (int64_t r = 0; r < codes.rows; ++r) {
    const int64_t row = row_begin + r;
    const size_t set = set_of(row, col);
    const float scale = q_.scale[set];
    if (affine) {
      const float zero = stored_zero ? q_.zero[set] : fixed;
      for (int64_t c = 0; c < codes.cols; ++c) {
        value.at(r, c) = scale * (static_cast<float>(codes.at(r, c)) - zero);
      }
      continue;
    }
    const auto table = static_cast<size_t>(q_.parameter_index(scheme.table_sharing, row, col));
    const float* levels = q_.levels.data() + (table << scheme.bits);
    for (int64_t c = 0; c < codes.cols; ++c) {
      const float product = scale * (levels[codes.at(r, c)] * power);
      value.at(r, c) = scheme.has_offset ? product + q_.offset[set] : product;
    }
  }
}

QuantizedMatrix ParameterGrid::finish(std::vector<uint16_t> codes) && {
  q_.codes = std::move(codes);
  return std::move(q_);
}

size_t ParameterGrid::set_of(int64_t row, int64_t col) const {
  return static_cast<size_t>(q_.parameter_index(q_.scheme.scale_sharing, row, col));
}

float ParameterGrid::fitted_scale(float scale, int64_t row) const {
  return stored_scale(scale, q_.scheme.scale_sharing, where_, row);
}

float ParameterGrid::store_scale(float fitted, int64_t row) const {
  return stored_scale(fitted * factor_, q_.scheme.scale_sharing, where_, row);
}

void ParameterGrid::multiply_scales(float factor) {
  factor_ *= factor;
  const int64_t sets_per_row = q_.scheme.scale_sharing == Sharing::kGroup ? q_.groups() : 1;
  for (size_t i = 0; i < q_.scale.size(); ++i) {
    q_.scale[i] = stored_scale(q_.scale[i] * factor, q_.scheme.scale_sharing, where_,
                               static_cast<int64_t>(i) / sets_per_row);
  }
  for (float& offset : q_.offset) offset = round_to_float16(offset * factor);
}

}  // namespace twofold

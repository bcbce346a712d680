#include "quant/grids/row_table.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/float16.h"

namespace twofold {
namespace {

/// Number of bounds below `x`, by halving.
/// @param bounds [kLevels], increasing, the last one infinite; kLevels a power of two.
template <uint32_t kLevels>
uint32_t rank_of(float x, const float* bounds) {
  uint32_t rank = 0;
#pragma GCC unroll 4
  for (uint32_t step = kLevels / 2; step > 0; step /= 2) {
    rank += static_cast<uint32_t>(x > bounds[rank + step - 1]) * step;
  }
  return rank;
}

uint32_t searched_rank(float x, const float* bounds, int64_t levels) {
  return static_cast<uint32_t>(std::lower_bound(bounds, bounds + levels - 1, x) - bounds);
}

}  // namespace

int plane_sum(std::span<const int> n, unsigned code) {
  int sum = 0;
  for (size_t i = 0; i < n.size(); ++i) sum += (code >> i & 1u) != 0 ? n[i] : -n[i];
  return sum;
}

RowTableGrid::RowTableGrid(const Shape& shape, int64_t rows, int64_t cols, std::string where)
    : ParameterGrid({.kind = ValueKind::kTable,
                     .bits = shape.bits,
                     .scale_sharing = shape.group > 0 ? Sharing::kGroup : Sharing::kRow,
                     .group = shape.group,
                     .table_sharing = shape.group > 0 ? Sharing::kGroup : Sharing::kRow,
                     .level_type = LevelType::kInt8,
                     .level_exponent = shape.level_exponent,
                     .has_offset = true,
                     .planes = shape.planes},
                    rows, cols, std::move(where)),
      levels_(int64_t{1} << shape.bits),
      binary_coding_(shape.binary_coding) {
  const size_t entries = q_.scale.size() << shape.bits;
  q_.levels.resize(entries);
  values_.resize(entries);
  bounds_.assign(entries, std::numeric_limits<float>::infinity());
  code_of_.resize(entries);
}

std::span<const float> RowTableGrid::explore_factors() const { return kExploreFactors; }

void RowTableGrid::take_row(int64_t row, const FittedGrid& from) {
  ParameterGrid::take_row(row, from);
  const auto& other = dynamic_cast<const RowTableGrid&>(from);
  const int64_t begin = row * q_.groups() * levels_, count = q_.groups() * levels_;
  std::copy_n(other.values_.begin() + begin, count, values_.begin() + begin);
  std::copy_n(other.bounds_.begin() + begin, count, bounds_.begin() + begin);
  std::copy_n(other.code_of_.begin() + begin, count, code_of_.begin() + begin);
}

void RowTableGrid::round(int64_t col, int64_t row_begin, Matrix<const float> target,
                         Matrix<uint16_t> codes, Matrix<float> value) const {
  const size_t row_entries = static_cast<size_t>(q_.groups() * levels_);
  size_t first = set_of(row_begin, col) * static_cast<size_t>(levels_);
  for (int64_t r = 0; r < target.rows; ++r, first += row_entries) {
    const float* bounds = bounds_.data() + first;
    const float* values = values_.data() + first;
    const uint8_t* code_of = code_of_.data() + first;
    for (int64_t c = 0; c < target.cols; ++c) {
      const float x = target.at(r, c);
      const uint32_t rank = levels_ == 4    ? rank_of<4>(x, bounds)
                            : levels_ == 8  ? rank_of<8>(x, bounds)
                            : levels_ == 16 ? rank_of<16>(x, bounds)
                                            : searched_rank(x, bounds, levels_);
      codes.at(r, c) = code_of[rank];
      value.at(r, c) = values[rank];
    }
  }
}

double RowTableGrid::stored_step(double step, int64_t row) const {
  const double up = std::ldexp(step, -q_.scheme.level_exponent);
  const float scale = fitted_scale(static_cast<float>(up), row);
  return std::ldexp(static_cast<double>(scale), q_.scheme.level_exponent);
}

float RowTableGrid::stored_offset(double offset, int64_t row) const {
  const float stored = round_to_float16(static_cast<float>(offset));
  if (!std::isfinite(stored)) {
    fail(ErrorCode::kUnsupported, where_, "row {}: offset {} is beyond binary16 (65504)", row,
         offset);
  }
  return stored;
}

void RowTableGrid::set_table(size_t set, int64_t row, const Table& table) {
  const double up = std::ldexp(table.step, -q_.scheme.level_exponent);
  q_.scale[set] = store_scale(fitted_scale(static_cast<float>(up), row), row);
  q_.offset[set] = stored_offset(stored_offset(table.offset, row) * factor_, row);
  float* levels = q_.levels.data() + set * static_cast<size_t>(levels_);
  const std::span<const int> n(table.n.data(), static_cast<size_t>(q_.scheme.bits));
  for (int64_t i = 0; i < levels_; ++i) {
    levels[i] = static_cast<float>(binary_coding_ ? plane_sum(n, static_cast<unsigned>(i))
                                                  : table.levels[static_cast<size_t>(i)]);
  }
  if (!q_.scheme.planes) std::sort(levels, levels + levels_);
  refresh(set);
}

StoredTable RowTableGrid::stored_levels(size_t set) const {
  StoredTable table{
      .scale = q_.scale[set], .offset = q_.offset[set], .exponent = q_.scheme.level_exponent};
  std::copy_n(q_.levels.data() + set * static_cast<size_t>(levels_), levels_, table.levels.begin());
  return table;
}

void RowTableGrid::set_levels(size_t set, const StoredTable& table) {
  q_.scale[set] = table.scale;
  q_.offset[set] = table.offset;
  std::copy_n(table.levels.begin(), levels_, q_.levels.data() + set * static_cast<size_t>(levels_));
  refresh(set);
}

void RowTableGrid::refresh(size_t set) {
  const size_t first = set * static_cast<size_t>(levels_);
  const float* levels = q_.levels.data() + first;
  uint8_t* code_of = code_of_.data() + first;
  std::iota(code_of, code_of + levels_, uint8_t{0});
  std::stable_sort(code_of, code_of + levels_,
                   [&](uint8_t a, uint8_t b) { return levels[a] < levels[b]; });
  const float power = std::ldexp(1.0f, q_.scheme.level_exponent);
  float* values = values_.data() + first;
  for (int64_t i = 0; i < levels_; ++i) {
    values[i] = q_.scale[set] * (levels[code_of[i]] * power) + q_.offset[set];
  }
  float* bounds = bounds_.data() + first;
  for (int64_t i = 0; i + 1 < levels_; ++i) {
    bounds[i] = static_cast<float>((static_cast<double>(values[i]) + values[i + 1]) / 2);
  }
}

void RowTableGrid::set_bounds(size_t set, std::span<const double> bounds) {
  own_bounds_ = true;
  float* to = bounds_.data() + set * static_cast<size_t>(levels_);
  for (size_t i = 0; i < bounds.size(); ++i) to[i] = static_cast<float>(bounds[i]) * factor_;
}

void RowTableGrid::rescale(float factor) {
  multiply_scales(factor);
  const std::vector<float> bounds = bounds_;
  for (size_t set = 0; set < q_.scale.size(); ++set) refresh(set);
  if (!own_bounds_) return;
  for (size_t i = 0; i < bounds.size(); ++i) bounds_[i] = bounds[i] * factor;
}

}  // namespace twofold

// A grid whose values are scale x (one of a few integers): the integers are the same for the whole
// matrix, the scale belongs to the matrix, a row or a group. `Rule` says which integers:
//
//   std::vector<float> levels;            [2^bits]; codes without a meaning have level 0
//   float divisor;                        the scale is max|W| / divisor
//   int top_exponent;                     2^top_exponent is about the largest level
//   uint16_t encode(float x) const;       the code for x = weight / scale
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "quant/grids/common.h"
#include "quant/row_chunks.h"

namespace twofold {

struct TableGridOptions {
  int bits = 4;
  Sharing sharing = Sharing::kRow;
  int64_t group = 0;
  bool search = false;  // the best of kScaleFactors instead of 1
  float eps = 0;
};

/// Factors tried by the scale search, 0.45 to 1.05.
constexpr int kScaleFactors = 25;
inline float scale_factor(int i) { return static_cast<float>(0.45 + 0.025 * i); }

/// The smallest type that holds all levels.
inline LevelType level_type_for(const std::vector<float>& levels) {
  const auto [lo, hi] = std::minmax_element(levels.begin(), levels.end());
  if (*lo >= -128 && *hi <= 127) return LevelType::kInt8;
  if (*lo >= -32768 && *hi <= 32767) return LevelType::kInt16;
  return LevelType::kFloat32;
}

template <class Rule>
class TableGrid final : public ParameterGrid {
 public:
  // With levels below 2 in magnitude a stored scale is about the largest weight, a normal number
  // of binary16 however many exponents there are. A power of two changes no digit.
  TableGrid(const TableGridOptions& options, Rule rule, int64_t rows, int64_t cols,
            std::string where)
      : ParameterGrid({.kind = ValueKind::kTable,
                       .bits = options.bits,
                       .scale_sharing = options.sharing,
                       .group = options.group,
                       .table_sharing = Sharing::kMatrix,
                       .level_type = level_type_for(rule.levels),
                       .level_exponent = -rule.top_exponent},
                      rows, cols, std::move(where)),
        options_(options),
        rule_(std::move(rule)) {
    q_.levels = rule_.levels;
    up_ = std::ldexp(1.0f, rule_.top_exponent);
    down_ = std::ldexp(1.0f, -rule_.top_exponent);
    scaled_levels_ = rule_.levels;
    for (float& level : scaled_levels_) level *= down_;
  }

  std::span<const float> explore_factors() const override { return kExploreFactors; }

  std::unique_ptr<FittedGrid> rescaled(float factor) const override {
    auto copy = std::make_unique<TableGrid>(*this);
    copy->multiply_scales(factor);
    return copy;
  }

  void fit(int64_t col_begin, int64_t row_begin, Matrix<const float> weight,
           std::span<const float> importance, ThreadPool& pool) override {
    const bool whole = options_.sharing == Sharing::kMatrix;
    std::vector<float> magnitude(static_cast<size_t>(weight.rows));
    for_row_chunks(pool, weight.rows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        magnitude[static_cast<size_t>(r)] = max_magnitude(weight.row(r));
      }
    });
    if (whole) {
      std::fill(magnitude.begin(), magnitude.end(),
                *std::max_element(magnitude.begin(), magnitude.end()));
    }
    std::vector<Errors> errors(static_cast<size_t>(weight.rows));
    if (options_.search) {
      for_row_chunks(pool, weight.rows, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const size_t i = static_cast<size_t>(r);
          errors[i] = row_errors(weight.row(r), importance, magnitude[i], row_begin + r);
        }
      });
    }
    if (whole) {
      for (size_t r = 1; r < errors.size(); ++r) {
        for (size_t i = 0; i < kScaleFactors; ++i) errors[0][i] += errors[r][i];
      }
    }
    for (int64_t r = 0; r < (whole ? 1 : weight.rows); ++r) {
      const size_t i = static_cast<size_t>(r);
      const auto best = std::min_element(errors[i].begin(), errors[i].end());
      const float factor =
          options_.search ? scale_factor(static_cast<int>(best - errors[i].begin())) : 1.0f;
      const int64_t row = row_begin + r;
      q_.scale[set_of(row, col_begin)] = store_scale(scale_for(magnitude[i], factor, row), row);
    }
  }

  void round(int64_t col, int64_t row_begin, Matrix<const float> target, Matrix<uint16_t> codes,
             Matrix<float> value) const override {
    for (int64_t r = 0; r < target.rows; ++r) {
      const float scale = q_.scale[set_of(row_begin + r, col)];
      const float step = scale * down_;
      for (int64_t c = 0; c < target.cols; ++c) {
        const uint16_t code = rule_.encode(step != 0 ? target.at(r, c) / step : 0.0f);
        codes.at(r, c) = code;
        value.at(r, c) = scale * scaled_levels_[code];
      }
    }
  }

 private:
  using Errors = std::array<double, kScaleFactors>;

  /// The scale as stored but for the factor of `rescaled`: 2^top_exponent times the step of the
  /// integers.
  float scale_for(float magnitude, float factor, int64_t row) const {
    const float step = std::max(magnitude / rule_.divisor * factor, options_.eps);
    return fitted_scale(step * up_, row);
  }

  /// Squared error of a row, weighted by importance, for each factor.
  Errors row_errors(std::span<const float> row, std::span<const float> importance, float magnitude,
                    int64_t row_index) const {
    Errors errors{};
    for (int i = 0; i < kScaleFactors; ++i) {
      const float scale = scale_for(magnitude, scale_factor(i), row_index);
      const float step = scale * down_;
      double sum = 0;
      for (size_t c = 0; c < row.size(); ++c) {
        const uint16_t code = rule_.encode(step != 0 ? row[c] / step : 0.0f);
        const double error = static_cast<double>(scale * scaled_levels_[code]) - row[c];
        sum += error * error * (importance.empty() ? 1.0 : importance[c]);
      }
      errors[static_cast<size_t>(i)] = sum;
    }
    return errors;
  }

  TableGridOptions options_;
  Rule rule_;
  std::vector<float> scaled_levels_;
  float up_ = 1, down_ = 1;
};

}  // namespace twofold

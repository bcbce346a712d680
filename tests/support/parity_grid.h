// A vector grid for tests: integer multiples of a step whose coordinates have an even sum in each
// block of `width` columns (the lattice D8 or D16), shifted by 128 to make codes of 8 bits.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>

#include "quant/grid.h"

namespace twofold::testing {

class ParityGrid final : public FittedGrid {
 public:
  /// @param parity whether sums must be even; without, columns are rounded one by one.
  ParityGrid(int64_t rows, int64_t cols, int64_t group, int64_t width = 8, bool parity = true)
      : group_(group), width_(width), parity_(parity) {
    q_.rows = rows;
    q_.cols = cols;
    q_.scheme = {.kind = ValueKind::kAffine,
                 .bits = 8,
                 .scale_sharing = group > 0 ? Sharing::kGroup : Sharing::kRow,
                 .group = group,
                 .zero = ZeroKind::kSymmetric};
    q_.scale.assign(static_cast<size_t>(q_.parameter_sets(q_.scheme.scale_sharing)), 0x1p-4f);
  }
  int64_t width() const override { return width_; }
  int64_t group() const override { return group_; }
  Scheme scheme() const override { return q_.scheme; }
  void fit(int64_t col_begin, int64_t row_begin, Matrix<const float> weight,
           std::span<const float> /*importance*/, ThreadPool& /*pool*/) override {
    if (row_begin == 0) fitted_.emplace_back(col_begin, weight.cols);
  }

  std::span<const float> explore_factors() const override {
    static constexpr float kOne[] = {1.0f};
    return kOne;
  }
  int64_t rows_sharing() const override { return 1; }
  std::unique_ptr<FittedGrid> rescaled(float /*factor*/) const override {
    return std::make_unique<ParityGrid>(*this);
  }
  void take_row(int64_t /*row*/, const FittedGrid& /*from*/) override {}

  void round(int64_t /*col*/, int64_t /*row_begin*/, Matrix<const float> target,
             Matrix<uint16_t> codes, Matrix<float> value) const override {
    for (int64_t r = 0; r < target.rows; ++r) {
      for (int64_t c = 0; c < target.cols; c += width_) {
        const int64_t width = std::min(width_, target.cols - c);
        int sum = 0;
        int64_t worst = 0;
        float worst_error = -1, whole[16];
        for (int64_t i = 0; i < width; ++i) {
          const float x = target.at(r, c + i) / 0x1p-4f;
          whole[i] = std::nearbyint(x);
          sum += static_cast<int>(whole[i]);
          if (std::fabs(x - whole[i]) > worst_error) {
            worst_error = std::fabs(x - whole[i]);
            worst = i;
          }
        }
        if (parity_ && sum % 2 != 0) {
          whole[worst] += target.at(r, c + worst) / 0x1p-4f > whole[worst] ? 1.0f : -1.0f;
        }
        for (int64_t i = 0; i < width; ++i) {
          codes.at(r, c + i) = static_cast<uint16_t>(whole[i] + 128);
          value.at(r, c + i) = whole[i] * 0x1p-4f;
        }
      }
    }
  }

  void values(int64_t /*col*/, int64_t /*row_begin*/, Matrix<const uint16_t> codes,
              Matrix<float> value) const override {
    for (int64_t r = 0; r < codes.rows; ++r) {
      for (int64_t c = 0; c < codes.cols; ++c) {
        value.at(r, c) = (static_cast<float>(codes.at(r, c)) - 128) * 0x1p-4f;
      }
    }
  }

  QuantizedMatrix finish(std::vector<uint16_t> codes) && override {
    q_.codes = std::move(codes);
    return std::move(q_);
  }

  const std::vector<std::pair<int64_t, int64_t>>& fitted() const { return fitted_; }

 private:
  int64_t group_, width_;
  bool parity_;
  QuantizedMatrix q_;
  std::vector<std::pair<int64_t, int64_t>> fitted_;  // (first column, columns) of each fit
};

}  // namespace twofold::testing

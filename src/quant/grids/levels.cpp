// Free tables of levels: exact k-means of each row or group, weighted by importance (SqueezeLLM,
// Kim et al., arXiv:2306.07629, Sec. 4.1; LeanQuant, Zhang and Shrivastava, arXiv:2407.10032), or
// the Lloyd-Max levels of a Gaussian times the row's root mean square, for rotated weights. Refits
// of free tables are those of LNQ (arXiv:2505.07004).
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "quant/grids/gaussian_levels.h"
#include "quant/grids/kmeans.h"
#include "quant/grids/members.h"
#include "quant/grids/row_table.h"
#include "quant/grids/table_refit.h"
#include "quant/row_chunks.h"

namespace twofold {
namespace {

constexpr int kLevelExponent = -7;

class KMeansGrid final : public RowTableGrid {
 public:
  explicit KMeansGrid(const GridRequest& request)
      : RowTableGrid(
            {.bits = request.bits, .group = request.group, .level_exponent = kLevelExponent},
            request.rows, request.cols, request.where) {}

  std::unique_ptr<FittedGrid> rescaled(float factor) const override {
    auto copy = std::make_unique<KMeansGrid>(*this);
    copy->rescale(factor);
    return copy;
  }

  void fit(int64_t col_begin, int64_t row_begin, Matrix<const float> weight,
           std::span<const float> importance, ThreadPool& pool) override {
    for_row_chunks(pool, weight.rows, [&](int64_t begin, int64_t end) {
      SortedRow sorted;
      KMeans kmeans;
      std::vector<double> means;
      for (int64_t r = begin; r < end; ++r) {
        sorted.assign(weight.row(r), importance);
        kmeans.fit(sorted, 1 << scheme().bits, means);
        const int64_t row = row_begin + r;
        set_table(set_of(row, col_begin), row, table_of(means, row));
      }
    });
  }

  bool refits() const override { return true; }

 private:
  void propose(const RefitProblem& problem, Matrix<const float> /*value*/) override {
    TableRefit refit(scheme().bits);
    for (int64_t begin = 0; begin < problem.codes.rows; begin += refit.batch()) {
      const int64_t end = std::min(begin + refit.batch(), problem.codes.rows);
      refit.assign(problem, begin, end);
      for (int64_t r = begin; r < end; ++r) {
        const size_t set = set_of(problem.row_begin + r, problem.col_begin);
        set_levels(set, refit.solve(r, stored_levels(set)));
      }
    }
  }

  /// The means as int8 levels around the middle of the range.
  Table table_of(const std::vector<double>& means, int64_t row) const {
    Table table;
    table.offset = (means.front() + means.back()) / 2;
    table.step = stored_step((means.back() - means.front()) / (2 * kLargestLevel), row);
    for (size_t i = 0; i < means.size() && table.step > 0; ++i) {
      const double level = std::nearbyint((means[i] - table.offset) / table.step);
      table.levels[i] = static_cast<int>(std::clamp<double>(level, -kLargestLevel, kLargestLevel));
    }
    return table;
  }
};

/// value = scale level 2^level_exponent with one table for the matrix and the root mean square of a
/// row or group in its scale.
class GaussianGrid final : public ParameterGrid {
 public:
  explicit GaussianGrid(const GridRequest& request)
      : ParameterGrid({.kind = ValueKind::kTable,
                       .bits = request.bits,
                       .scale_sharing = request.group > 0 ? Sharing::kGroup : Sharing::kRow,
                       .group = request.group,
                       .table_sharing = Sharing::kMatrix,
                       .level_type = gaussian_level_type(request.bits),
                       .level_exponent = gaussian_level_exponent(request.bits)},
                      request.rows, request.cols, request.where) {
    const std::vector<double>& levels = gaussian_levels(request.bits);
    const double whole = gaussian_largest_level(request.bits);
    for (double level : levels) {
      q_.levels.push_back(static_cast<float>(std::nearbyint(level / levels.back() * whole)));
      unit_.push_back(std::ldexp(q_.levels.back(), q_.scheme.level_exponent));
    }
    for (size_t i = 0; i + 1 < unit_.size(); ++i) bounds_.push_back((unit_[i] + unit_[i + 1]) / 2);
    per_rms_ = levels.back() / static_cast<double>(unit_.back());
  }

  std::span<const float> explore_factors() const override { return kExploreFactors; }

  std::unique_ptr<FittedGrid> rescaled(float factor) const override {
    auto copy = std::make_unique<GaussianGrid>(*this);
    copy->multiply_scales(factor);
    return copy;
  }

  void fit(int64_t col_begin, int64_t row_begin, Matrix<const float> weight,
           std::span<const float> /*importance*/, ThreadPool& pool) override {
    for_row_chunks(pool, weight.rows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        double sum = 0;
        for (float w : weight.row(r)) sum += static_cast<double>(w) * w;
        const double rms = std::sqrt(sum / static_cast<double>(weight.cols));
        const int64_t row = row_begin + r;
        const float scale = fitted_scale(static_cast<float>(rms * per_rms_), row);
        q_.scale[set_of(row, col_begin)] = store_scale(scale, row);
      }
    });
  }

  /// Nearest level; a tie goes to the smaller one.
  bool refits() const override { return true; }

  void round(int64_t col, int64_t row_begin, Matrix<const float> target, Matrix<uint16_t> codes,
             Matrix<float> value) const override {
    for (int64_t r = 0; r < target.rows; ++r) {
      const float scale = q_.scale[set_of(row_begin + r, col)];
      for (int64_t c = 0; c < target.cols; ++c) {
        const float x = scale > 0 ? target.at(r, c) / scale : 0.0f;
        const auto at = std::lower_bound(bounds_.begin(), bounds_.end(), x) - bounds_.begin();
        codes.at(r, c) = static_cast<uint16_t>(at);
        value.at(r, c) = scale * unit_[static_cast<size_t>(at)];
      }
    }
  }

 private:
  std::vector<float> unit_, bounds_;  // [2^bits] levels x 2^level_exponent, [2^bits - 1]
  double per_rms_ = 1;
};

bool gaussian(const Params& params) { return params.get_choice("levels") == "gaussian"; }

std::string importance_unread(const Params& params) {
  return gaussian(params) ? "--levels gaussian takes the root mean square of all weights" : "";
}

std::string refit_unread(const Params& /*params*/) { return {}; }

void check(const GridRequest& request) { check_bits(levels_grid(), request); }

std::unique_ptr<FittedGrid> make(const GridRequest& request) {
  check(request);
  if (gaussian(request.params)) return std::make_unique<GaussianGrid>(request);
  return std::make_unique<KMeansGrid>(request);
}

}  // namespace

const Grid& levels_grid() {
  static const Grid kGrid = {
      .name = "levels",
      .paper = "arXiv:2306.07629",
      .help = "a table of free levels per row or group",
      .params = {{.name = "levels",
                  .kind = ParamKind::kChoice,
                  .fallback = "kmeans",
                  .help = "kmeans: fitted to each row or group; gaussian: Lloyd-Max levels of a "
                          "Gaussian, one table, scaled by the root mean square",
                  .choices = {"kmeans", "gaussian"}}},
      .min_bits = 2,
      .max_bits = kLargestTableBits,
      .groups = true,
      .needed_bits = bits_are_open,
      .check = check,
      .make = make,
      .importance_unread = importance_unread,
      .refit_unread = refit_unread};
  return kGrid;
}

}  // namespace twofold

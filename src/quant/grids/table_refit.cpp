#include "quant/grids/table_refit.h"

#include <algorithm>
#include <cmath>

#include "base/float16.h"

namespace twofold {
namespace {

/// Columns of H whose sums are held at a time.
constexpr int64_t kTile = 128;
/// Numbers of sums that stay in a second-level cache.
constexpr int64_t kCached = 1 << 16;
/// What is added to the diagonal of P^T H P, relative to its largest entry: levels without a weight
/// have a row of zeros.
constexpr double kRidge = 1e-12;
/// Most sweeps over the levels of a table when they are rounded.
constexpr int kSweeps = 16;

size_t count_of(int64_t numbers) { return static_cast<size_t>(numbers); }

}  // namespace

TableRefit::TableRefit(int bits)
    : levels_(int64_t{1} << bits), batch_(std::max<int64_t>(1, kCached / (levels_ * kTile))) {
  squares_.resize(count_of(batch_ * levels_ * levels_));
  slopes_.resize(count_of(batch_ * levels_));
  sums_.resize(count_of(batch_ * levels_ * kTile));
  best_.resize(count_of(levels_));
  factor_.resize(count_of(levels_ * levels_));
}

void TableRefit::assign(const RefitProblem& problem, int64_t begin, int64_t end) {
  begin_ = begin;
  const int64_t n = problem.codes.cols;
  std::fill(squares_.begin(), squares_.end(), 0.0);
  std::fill(slopes_.begin(), slopes_.end(), 0.0);
  for (int64_t r = begin; r < end; ++r) {
    double* slopes = slopes_.data() + (r - begin) * levels_;
    for (int64_t c = 0; c < n; ++c) slopes[problem.codes.at(r, c)] += problem.slope.at(r, c);
  }
  for (int64_t col = 0; col < n; col += kTile) {
    add_tile(problem, end, col, std::min(kTile, n - col));
  }
}

// Columns of the tile with themselves, then, twice as H is symmetric, with those that follow.
void TableRefit::add_tile(const RefitProblem& problem, int64_t row_end, int64_t col, int64_t cols) {
  const int64_t n = problem.codes.cols, rows = row_end - begin_;
  const auto add_rows_of_h = [&](int64_t from, int64_t to) {
    std::fill_n(sums_.begin(), rows * levels_ * kTile, 0.0);
    for (int64_t i = from; i < to; ++i) {
      const double* h = problem.h.data + i * problem.h.stride + col;
      for (int64_t r = 0; r < rows; ++r) {
        double* sums = sums_.data() + (r * levels_ + problem.codes.at(begin_ + r, i)) * kTile;
        for (int64_t j = 0; j < cols; ++j) sums[j] += h[j];
      }
    }
  };
  const auto add_squares = [&](bool twice) {
    for (int64_t r = 0; r < rows; ++r) {
      double* m = square(begin_ + r);
      for (int64_t a = 0; a < levels_; ++a) {
        const double* sums = sums_.data() + (r * levels_ + a) * kTile;
        for (int64_t j = 0; j < cols; ++j) {
          const int64_t b = problem.codes.at(begin_ + r, col + j);
          m[a * levels_ + b] += sums[j];
          if (twice) m[b * levels_ + a] += sums[j];
        }
      }
    }
  };
  add_rows_of_h(col, col + cols);
  add_squares(false);
  if (col + cols == n) return;
  add_rows_of_h(col + cols, n);
  add_squares(true);
}

StoredTable TableRefit::solve(int64_t row, const StoredTable& table) {
  const double* m = square(row);
  if (!find_best_values(m, slopes_.data() + (row - begin_) * levels_, table)) return table;
  double lo = INFINITY, hi = -INFINITY;
  for (int64_t a = 0; a < levels_; ++a) {
    if (!(m[a * levels_ + a] > 0)) continue;
    lo = std::min(lo, best_[count_of(a)]);
    hi = std::max(hi, best_[count_of(a)]);
  }
  StoredTable kept = table, fresh = table;
  const double power = std::ldexp(1.0, table.exponent);
  fresh.offset = round_to_float16(static_cast<float>((lo + hi) / 2));
  fresh.scale = round_to_float16(static_cast<float>((hi - lo) / (2 * kLargestLevel) / power));
  const double kept_loss = kept.scale > 0 ? round_levels(m, kept) : INFINITY;
  const bool storable = std::isfinite(fresh.offset) && std::isfinite(fresh.scale);
  if (!storable || !(fresh.scale > 0)) return kept;
  return round_levels(m, fresh) < kept_loss ? fresh : kept;
}

/// best_ = the values of the table + (M + ridge)^-1 P^T slope, by Cholesky's factor.
bool TableRefit::find_best_values(const double* m, const double* slope, const StoredTable& table) {
  double largest = 0;
  for (int64_t a = 0; a < levels_; ++a) largest = std::max(largest, m[a * levels_ + a]);
  const auto factor = [&](int64_t a, int64_t b) -> double& {
    return factor_[count_of(a * levels_ + b)];
  };
  for (int64_t a = 0; a < levels_; ++a) {
    for (int64_t b = 0; b <= a; ++b) {
      double sum = m[a * levels_ + b] + (a == b ? kRidge * largest : 0.0);
      for (int64_t k = 0; k < b; ++k) sum -= factor(a, k) * factor(b, k);
      if (a == b && !(sum > 0)) return false;
      factor(a, b) = a == b ? std::sqrt(sum) : sum / factor(b, b);
    }
  }
  std::vector<double>& x = best_;
  for (int64_t a = 0; a < levels_; ++a) {
    double sum = slope[a];
    for (int64_t k = 0; k < a; ++k) sum -= factor(a, k) * x[count_of(k)];
    x[count_of(a)] = sum / factor(a, a);
  }
  for (int64_t a = levels_ - 1; a >= 0; --a) {
    double sum = x[count_of(a)];
    for (int64_t k = a + 1; k < levels_; ++k) sum -= factor(k, a) * x[count_of(k)];
    x[count_of(a)] = sum / factor(a, a);
  }
  const double step = std::ldexp(static_cast<double>(table.scale), table.exponent);
  for (int64_t a = 0; a < levels_; ++a) {
    x[count_of(a)] += step * table.levels[count_of(a)] + table.offset;
  }
  return true;
}

/// Levels for the scale and offset of a table: the nearest to best_, then each, in turn, to its
/// best place given the others.  @return the loss beyond that of best_: d M d^T, d = values -
/// best_.
double TableRefit::round_levels(const double* m, StoredTable& table) const {
  const double step = std::ldexp(static_cast<double>(table.scale), table.exponent);
  const auto nearest = [&](double value) {
    const double level = std::nearbyint((value - table.offset) / step);
    return std::clamp<double>(level, -kLargestLevel, kLargestLevel);
  };
  std::vector<double> d(count_of(levels_));
  const auto place = [&](size_t a, double level) {
    table.levels[a] = static_cast<float>(level);
    d[a] = step * level + table.offset - best_[a];
  };
  for (size_t a = 0; a < d.size(); ++a) place(a, nearest(best_[a]));
  const auto product = [&](size_t a) {  // (M d)_a
    double sum = 0;
    for (size_t b = 0; b < d.size(); ++b) sum += m[a * d.size() + b] * d[b];
    return sum;
  };
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    bool changed = false;
    for (size_t a = 0; a < d.size(); ++a) {
      const double curvature = m[a * d.size() + a];
      if (!(curvature > 0)) continue;
      const double level = nearest(best_[a] + d[a] - product(a) / curvature);
      if (level == table.levels[a]) continue;
      place(a, level);
      changed = true;
    }
    if (!changed) break;
  }
  double loss = 0;
  for (size_t a = 0; a < d.size(); ++a) loss += d[a] * product(a);
  return loss;
}

}  // namespace twofold

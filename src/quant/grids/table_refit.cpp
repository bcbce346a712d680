#include "quant/grids/table_refit.h"

#include <algorithm>
#include <cmath>

#include "base/float16.h"
#include "tensor/linalg.h"

namespace twofold {
namespace {

/// Columns of H whose sums are held at a time: so many of some thousand rows stay in a second-level
/// cache.
constexpr int64_t kTile = 64;
/// Numbers of squares that are held at a time.
constexpr int64_t kSquares = 1 << 16;
/// What is added to the diagonal of P^T H P, relative to its largest entry: levels without a weight
/// have a row of zeros.
constexpr double kRidge = 1e-12;
/// Most sweeps over the levels of a table when they are rounded.
constexpr int kSweeps = 16;

size_t count_of(int64_t numbers) { return static_cast<size_t>(numbers); }

}  // namespace

TableRefit::TableRefit(int bits)
    : levels_(int64_t{1} << bits), batch_(std::max<int64_t>(1, kSquares / (levels_ * levels_))) {
  squares_.resize(count_of(batch_ * levels_ * levels_));
  slopes_.resize(count_of(batch_ * levels_));
  next_.resize(count_of(batch_ * levels_));
  ends_.resize(next_.size());
  sums_.resize(count_of(levels_ * kTile));
  turned_.resize(sums_.size());
  best_.resize(count_of(levels_));
  factor_.resize(count_of(levels_ * levels_));
}

// P^T H P = S + S^T with S half of what tiles of H on the diagonal contribute and all of what is
// below them, as H is symmetric.
void TableRefit::assign(const RefitProblem& problem, int64_t begin, int64_t end) {
  begin_ = begin;
  const int64_t n = problem.codes.cols;
  columns_.resize(count_of(batch_ * n));
  factors_.assign(count_of(kTile + n), 1.0);
  std::fill_n(factors_.begin(), kTile, 0.5);
  std::fill(squares_.begin(), squares_.end(), 0.0);
  std::fill(slopes_.begin(), slopes_.end(), 0.0);
  for (int64_t r = begin; r < end; ++r) {
    double* slopes = slopes_.data() + (r - begin) * levels_;
    for (int64_t c = 0; c < n; ++c) slopes[problem.codes.at(r, c)] += problem.slope.at(r, c);
    sort_columns(problem, r);
  }
  tile_.resize(count_of(n * kTile));
  for (int64_t col = 0; col < n; col += kTile) {
    const int64_t cols = std::min(kTile, n - col);
    for (int64_t i = col; i < n; ++i) {
      std::copy_n(problem.h.data + i * problem.h.stride + col, cols, tile_.data() + i * kTile);
    }
    for (int64_t r = begin; r < end; ++r) add_tile(problem, r, col, cols);
  }
  for (int64_t r = begin; r < end; ++r) add_transposed(r);
}

void TableRefit::sort_columns(const RefitProblem& problem, int64_t row) {
  const int64_t n = problem.codes.cols;
  int32_t* columns = columns_.data() + (row - begin_) * n;
  int64_t* next = next_.data() + (row - begin_) * levels_;
  int64_t* ends = ends_.data() + (row - begin_) * levels_;
  std::fill_n(ends, levels_, int64_t{0});
  for (int64_t c = 0; c < n; ++c) ++ends[problem.codes.at(row, c)];
  for (int64_t a = 0, count = 0; a < levels_; ++a) {
    next[a] = count;
    count += ends[a];
    ends[a] = next[a];
  }
  for (int64_t c = 0; c < n; ++c)
    columns[ends[problem.codes.at(row, c)]++] = static_cast<int32_t>(c);
}

/// Adds what columns [col, col + cols) of H contribute to S^T.
void TableRefit::add_tile(const RefitProblem& problem, int64_t row, int64_t col, int64_t cols) {
  const int64_t n = problem.codes.cols;
  const int32_t* columns = columns_.data() + (row - begin_) * n;
  int64_t* next = next_.data() + (row - begin_) * levels_;
  const int64_t* ends = ends_.data() + (row - begin_) * levels_;
  const Matrix<const double> tile(tile_.data(), n, cols, kTile);
  std::fill(sums_.begin(), sums_.end(), 0.0);
  for (int64_t a = 0; a < levels_; ++a) {
    const int64_t begin = next[a];
    while (next[a] < ends[a] && columns[next[a]] < col + cols) ++next[a];
    const size_t count = count_of(ends[a] - begin);
    if (count == 0) continue;
    add_rows(tile, {columns + begin, count}, {factors_.data() + kTile - (next[a] - begin), count},
             sums_.data() + a * kTile, problem.isa);
  }
  for (int64_t a = 0; a < levels_; ++a) {
    const double* sums = sums_.data() + a * kTile;
    for (int64_t j = 0; j < cols; ++j) turned_[count_of(j * levels_ + a)] = sums[j];
  }
  double* squares = square(row);
  for (int64_t j = 0; j < cols; ++j) {
    const double* sums = turned_.data() + j * levels_;
    double* to = squares + problem.codes.at(row, col + j) * levels_;
    for (int64_t a = 0; a < levels_; ++a) to[a] += sums[a];
  }
}

void TableRefit::add_transposed(int64_t row) {
  double* m = square(row);
  for (int64_t a = 0; a < levels_; ++a) {
    for (int64_t b = 0; b <= a; ++b) {
      m[a * levels_ + b] = m[b * levels_ + a] = m[a * levels_ + b] + m[b * levels_ + a];
    }
  }
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

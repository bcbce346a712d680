#include "quant/grids/binary_coding.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace twofold {
namespace {

constexpr size_t kMaxSums = size_t{1} << kMaxPlanes;

/// A run of neighbours in the sorted row and the signs they share, as bits of a code.
struct Run {
  size_t begin = 0, end = 0;
  unsigned signs = 0;
  double sum = 0;  // of the planes so far
};

/// Runs of the greedy start; `alphas` receives its alphas. After i planes the residual of a run is
/// w - sum, so the next plane cuts each run where w = sum (r = 0 counts as positive).
std::vector<Run> greedy_start(const SortedRow& row, int planes, Alphas& alphas) {
  std::vector<Run> runs = {{0, row.size(), 0, 0.0}};
  const double mass = row.mass(0, row.size());
  for (int i = 0; i < planes; ++i) {
    std::vector<Run> next;
    double magnitude = 0;
    for (const Run& run : runs) {
      const size_t middle = row.first_at_least(run.sum, run.begin, run.end);
      next.push_back({run.begin, middle, run.signs, run.sum});
      next.push_back({middle, run.end, run.signs | 1u << i, run.sum});
      magnitude += run.sum * row.mass(run.begin, middle) - row.moment(run.begin, middle);
      magnitude += row.moment(middle, run.end) - run.sum * row.mass(middle, run.end);
    }
    const double alpha = mass > 0 ? std::max(0.0, magnitude / mass) : 0.0;
    alphas[static_cast<size_t>(i)] = alpha;
    for (Run& run : next) run.sum += (run.signs >> i & 1u) != 0 ? alpha : -alpha;
    runs = std::move(next);
  }
  return runs;
}

/// Solves (G + ridge) x = y in place of y. Planes that never differ make G singular; the ridge then
/// picks the solution of least norm.
/// @param g [n, n] positive semidefinite, overwritten.
void solve_small(std::array<Alphas, kMaxPlanes>& g, Alphas& y, size_t n, double ridge) {
  for (size_t i = 0; i < n; ++i) g[i][i] += ridge;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j) {
      const double factor = g[j][i] / g[i][i];
      for (size_t k = i; k < n; ++k) g[j][k] -= factor * g[i][k];
      y[j] -= factor * y[i];
    }
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k) y[i] -= g[i][k] * y[k];
    y[i] /= g[i][i];
  }
}

/// Least squares for fixed signs.
Alphas solve_alphas(const SortedRow& row, const std::vector<Run>& runs, int planes) {
  const size_t n = static_cast<size_t>(planes);
  std::array<Alphas, kMaxPlanes> g = {};
  Alphas y = {};
  for (const Run& run : runs) {
    const double mass = row.mass(run.begin, run.end), moment = row.moment(run.begin, run.end);
    for (size_t i = 0; i < n; ++i) {
      const bool plus = (run.signs >> i & 1u) != 0;
      y[i] += plus ? moment : -moment;
      for (size_t j = 0; j < n; ++j) {
        g[i][j] += plus == ((run.signs >> j & 1u) != 0) ? mass : -mass;
      }
    }
  }
  const double mass = row.mass(0, row.size());
  if (!(mass > 0)) return {};
  solve_small(g, y, n, 1e-9 * mass);
  for (double& alpha : y) alpha = std::fabs(alpha);
  for (size_t i = 1; i < n; ++i) {
    for (size_t k = i; k > 0 && y[k] > y[k - 1]; --k) std::swap(y[k], y[k - 1]);
  }
  return y;
}

/// Runs of the nearest sums, in increasing order; a tie goes to the smaller sum.
std::vector<Run> nearest_runs(const SortedRow& row, const Alphas& alphas, int planes) {
  std::array<Run, kMaxSums> sums;
  const unsigned count = 1u << planes;
  for (unsigned signs = 0; signs < count; ++signs) {
    double sum = 0;
    for (int i = 0; i < planes; ++i) {
      const double alpha = alphas[static_cast<size_t>(i)];
      sum += (signs >> i & 1u) != 0 ? alpha : -alpha;
    }
    sums[signs] = {0, 0, signs, sum};
  }
  std::stable_sort(sums.begin(), sums.begin() + count,
                   [](const Run& a, const Run& b) { return a.sum < b.sum; });
  size_t begin = 0;
  for (unsigned i = 0; i < count; ++i) {
    sums[i].begin = begin;
    sums[i].end = i + 1 < count
                      ? std::max(begin, row.first_above((sums[i].sum + sums[i + 1].sum) / 2))
                      : row.size();
    begin = sums[i].end;
  }
  return {sums.begin(), sums.begin() + count};
}

bool same_runs(const std::vector<Run>& a, const std::vector<Run>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Run& x, const Run& y) {
    return x.begin == y.begin && x.end == y.end && x.signs == y.signs;
  });
}

}  // namespace

Alphas fit_alphas(const SortedRow& row, int planes, int rounds) {
  Alphas alphas = {};
  std::vector<Run> runs = greedy_start(row, planes, alphas);
  for (int i = 0; i < rounds; ++i) {
    alphas = solve_alphas(row, runs, planes);
    std::vector<Run> next = nearest_runs(row, alphas, planes);
    if (same_runs(next, runs)) break;
    runs = std::move(next);
  }
  return alphas;
}

void alpha_sums(const Alphas& alphas, int planes, std::vector<double>& sums) {
  sums.assign(1, 0.0);
  for (int i = 0; i < planes; ++i) {
    const double alpha = alphas[static_cast<size_t>(i)];
    const size_t n = sums.size();
    for (size_t k = 0; k < n; ++k) {
      sums.push_back(sums[k] + alpha);
      sums[k] -= alpha;
    }
  }
  std::sort(sums.begin(), sums.end());
}

double alpha_loss(const SortedRow& row, const Alphas& alphas, int planes) {
  double loss = 0;
  for (const Run& run : nearest_runs(row, alphas, planes)) {
    loss += row.energy(run.begin, run.end) - 2 * run.sum * row.moment(run.begin, run.end) +
            run.sum * run.sum * row.mass(run.begin, run.end);
  }
  return loss;
}

LinearCoding linear_as_binary(double scale, double zero, int bits) {
  LinearCoding coding;
  double total = 0;
  for (int i = 0; i < bits; ++i) {
    const double alpha = std::ldexp(scale, i - 1);
    coding.alphas[static_cast<size_t>(i)] = alpha;
    total += alpha;
  }
  coding.offset = total - scale * zero;
  return coding;
}

}  // namespace twofold

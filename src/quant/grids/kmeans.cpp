#include "quant/grids/kmeans.h"

#include <algorithm>

namespace twofold {
namespace {

/// What a cluster [begin, end) saves: sum h w^2 - sum h (w - mean)^2 = (sum h w)^2 / sum h.
/// Clusters share all of sum h w^2, so the least loss is the largest saving.
double saving(const SortedRow& row, size_t begin, size_t end) {
  const double mass = row.mass(begin, end), moment = row.moment(begin, end);
  return mass > 0 ? moment * moment / mass : 0;
}

double run_mean(const SortedRow& row, size_t begin, size_t end) {
  const double mass = row.mass(begin, end);
  // Weights of no importance: any value between them.
  if (!(mass > 0)) return (static_cast<double>(row[begin]) + row[end - 1]) / 2;
  const double mean = row.moment(begin, end) / mass;
  return std::clamp(mean, static_cast<double>(row[begin]), static_cast<double>(row[end - 1]));
}

}  // namespace

/// next_[j] for j in [begin, end), whose best starts lie in [least, largest].
void KMeans::solve(const SortedRow& row, uint32_t* start, int64_t begin, int64_t end, int64_t least,
                   int64_t largest) {
  if (begin >= end) return;
  const int64_t j = begin + (end - begin) / 2;
  int64_t best = least;
  double most = -1;
  for (int64_t i = least; i <= std::min(largest, j); ++i) {
    const double saved =
        last_[static_cast<size_t>(i)] + saving(row, static_cast<size_t>(i), static_cast<size_t>(j));
    if (saved > most) {
      most = saved;
      best = i;
    }
  }
  next_[static_cast<size_t>(j)] = most;
  start[j] = static_cast<uint32_t>(best);
  solve(row, start, begin, j, least, best);
  solve(row, start, j + 1, end, best, largest);
}

void KMeans::fit(const SortedRow& row, int k, std::vector<double>& means) {
  const size_t n = row.size();
  last_.resize(n + 1);
  next_.resize(n + 1);
  starts_.assign(static_cast<size_t>(k) * (n + 1), 0);
  for (size_t j = 0; j <= n; ++j) last_[j] = saving(row, 0, j);
  for (int m = 1; m < k; ++m) {
    const int64_t count = static_cast<int64_t>(n);
    solve(row, starts_.data() + static_cast<size_t>(m) * (n + 1), 0, count + 1, 0, count);
    std::swap(last_, next_);
  }
  means.assign(static_cast<size_t>(k), 0.0);
  size_t end = n;
  for (int m = k - 1; m >= 0; --m) {
    const size_t begin = starts_[static_cast<size_t>(m) * (n + 1) + end];
    double& mean = means[static_cast<size_t>(m)];
    // An empty cluster repeats its neighbour: the first weight above it, the last one below.
    mean = begin < end ? run_mean(row, begin, end) : row[std::min(end, n - 1)];
    end = begin;
  }
  std::sort(means.begin(), means.end());
}

}  // namespace twofold

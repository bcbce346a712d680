// Exact weighted k-means of the weights of one row or group: in one dimension clusters are runs of
// neighbours, so a dynamic programme finds the best ones.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/grids/sorted_row.h"

namespace twofold {

class KMeans {
 public:
  /// The means of the k clusters of least sum h (w - mean)^2, in increasing order; means repeat if
  /// there are fewer than k different weights. O(n log n) per cluster: the best start of the last
  /// cluster grows with its end, so each layer is solved by divide and conquer.
  void fit(const SortedRow& row, int k, std::vector<double>& means);

 private:
  void solve(const SortedRow& row, uint32_t* start, int64_t begin, int64_t end, int64_t least,
             int64_t largest);

  std::vector<double> last_, next_;  // [n + 1] largest saving on the first j weights
  std::vector<uint32_t> starts_;     // [k, n + 1] where the last cluster begins
};

}  // namespace twofold

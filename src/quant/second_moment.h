// SecondMoment: what calibration knows of one layer input x: H = mean of x x^T over its tokens.
#pragma once

#include <cstdint>
#include <vector>

namespace twofold {

struct SecondMoment {
  int64_t cols = 0;
  int64_t tokens = 0;                  // finite tokens that were summed
  std::vector<double> h;               // [cols, cols], symmetric
  std::vector<double> mean_magnitude;  // [cols], mean of |x_j|; empty if it was not collected
};

}  // namespace twofold

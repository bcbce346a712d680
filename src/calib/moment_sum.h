// MomentSum: the second moment of one layer input, summed over calibration sequences: float32
// within a sequence, sequences added in order in float64.
#pragma once

#include <cstdint>
#include <vector>

#include "base/context.h"
#include "quant/second_moment.h"
#include "tensor/tensor.h"

namespace twofold {

class MomentSum {
 public:
  explicit MomentSum(int64_t cols);

  /// Adds the tokens of one sequence, x [tokens, cols]. Rows that hold NaN, infinity or a number
  /// beyond 2^56 (whose squares overflow) are left out and counted. The sum does not depend on the
  /// number of threads.
  void add_sequence(Matrix<const float> x, const Context& ctx);

  int64_t tokens() const { return tokens_; }
  int64_t dropped() const { return dropped_; }  // tokens with a number that is not finite
  /// The mean over the tokens that were added; zero if there were none. The second form gives its
  /// memory away: `std::move(sum).mean()` takes no more.
  SecondMoment mean() const&;
  SecondMoment mean() &&;
  /// Bytes held: 8 cols^2 + 8 cols. Adding a sequence takes less than 1 MB per thread for a while,
  /// and a copy of the sequence if rows are dropped.
  static int64_t bytes(int64_t cols);

 private:
  int64_t cols_, tokens_ = 0, dropped_ = 0;
  std::vector<double> h_;          // [cols, cols], upper triangle
  std::vector<double> magnitude_;  // [cols]
};

}  // namespace twofold

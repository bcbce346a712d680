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

  /// Adds the tokens of one sequence, x [tokens, cols]. Rows that hold NaN or infinity are left out
  /// and counted. The sum does not depend on the number of threads.
  void add_sequence(Matrix<const float> x, const Context& ctx);

  int64_t tokens() const { return tokens_; }
  int64_t dropped() const { return dropped_; }  // tokens with a number that is not finite
  /// The mean over the tokens that were added; zero if there were none.
  SecondMoment mean() const;
  /// Bytes held: 8 cols^2 and what a sequence needs.
  static int64_t bytes(int64_t cols);

 private:
  int64_t cols_, tokens_ = 0, dropped_ = 0;
  std::vector<double> h_;          // [cols, cols], upper triangle
  std::vector<double> magnitude_;  // [cols]
};

}  // namespace twofold

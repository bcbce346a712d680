// ConditionedMoment: the second moment of one input as grids and roundings use it: dead inputs
// given a diagonal, damped, in the stored basis. Made once for all matrices that read the input.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/params.h"
#include "quant/second_moment.h"
#include "tensor/tensor.h"

namespace twofold {

/// Settings of every method that knows the moment: "damping".
std::vector<ParamSpec> moment_params();

class ConditionedMoment {
 public:
  /// H with H_jj = 1 for inputs that were always 0, plus `damping` times the mean of the diagonal
  /// (GPTQ, arXiv:2210.17323, Sec. 4).
  /// @throws Error(kUnsupported) naming `input_name` if H holds a number that is not finite.
  ConditionedMoment(const SecondMoment& moment, double damping, std::string_view input_name);

  int64_t cols() const { return cols_; }
  Matrix<const double> h() const { return {h_.data(), cols_, cols_}; }
  /// For a transform, which brings it into its stored basis.
  Matrix<double> h() { return {h_.data(), cols_, cols_}; }
  /// The diagonal in float32, [cols]: the importance of each column.
  std::vector<float> diagonal() const;
  const std::vector<int64_t>& dead() const { return dead_; }

 private:
  int64_t cols_;
  std::vector<double> h_;
  std::vector<int64_t> dead_;
};

}  // namespace twofold

// ConditionedMoment: the second moment of one input as grids and roundings use it: dead inputs
// given a diagonal, damped, in the stored basis. Made once for all matrices that read the input,
// with its factors, which are made when first asked for. Thread-safe once it is in the stored
// basis.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "base/params.h"
#include "quant/second_moment.h"
#include "tensor/tensor.h"

namespace twofold {

/// Settings of every method that knows the moment: "damping".
std::vector<ParamSpec> moment_params();

/// In which order columns are rounded.
enum class ColumnOrder {
  kNatural,   // as stored
  kDiagonal,  // by decreasing diagonal of H, equal ones as stored ("act-order" of GPTQ)
  kReversed,  // from last to first
};

/// P H P^T = R R^T with R upper triangular, P the order of columns. Products read the columns of R,
/// so it is kept transposed.
struct MomentFactor {
  std::vector<int64_t> order;        // [n]: the column at each position
  std::vector<double> r_transposed;  // [n, stride], zeros above the diagonal
  int64_t stride = 0;
  double added_damping = 0;  // what H needed on its diagonal beside its own damping
  std::string note;          // empty, or that and why

  /// R^T, [n, n].
  Matrix<const double> lower() const {
    const int64_t n = static_cast<int64_t>(order.size());
    return {r_transposed.data(), n, n, stride};
  }
};

class ConditionedMoment {
 public:
  /// H with H_jj = 1 for inputs that were always 0, plus `damping` times the mean of the diagonal
  /// (GPTQ, arXiv:2210.17323, Sec. 4).
  /// @throws Error(kUnsupported) naming `input_name` if H holds a number that is not finite.
  ConditionedMoment(const SecondMoment& moment, double damping, std::string_view input_name);
  ConditionedMoment(ConditionedMoment&&) noexcept;
  ConditionedMoment& operator=(ConditionedMoment&&) noexcept;
  ~ConditionedMoment();

  int64_t cols() const { return cols_; }
  Matrix<const double> h() const { return {h_.data(), cols_, cols_}; }
  /// For a transform, which brings it into its stored basis before any factor is made.
  Matrix<double> h() { return {h_.data(), cols_, cols_}; }
  /// The diagonal in float32, [cols]: the importance of each column.
  std::vector<float> diagonal() const;
  const std::vector<int64_t>& dead() const { return dead_; }

  /// The factor for columns in `order`; in kReversed blocks of `width` columns stay as stored.
  /// If H is not positive definite, ten times the damping is tried until it is.
  /// @throws Error(kUnsupported) if no damping helps.
  std::shared_ptr<const MomentFactor> factor(ColumnOrder order, int64_t width,
                                             const Context& ctx) const;
  /// The diagonal of H^-1, [cols], damped as `factor` needs it.
  std::vector<double> inverse_diagonal(const Context& ctx) const;

 private:
  struct Cache;
  std::shared_ptr<const MomentFactor> make_factor(std::vector<int64_t> order,
                                                  const Context& ctx) const;

  int64_t cols_;
  double damping_;
  std::string name_;  // of the input, for errors
  std::vector<double> h_;
  std::vector<int64_t> dead_;
  std::unique_ptr<Cache> cache_;
};

}  // namespace twofold

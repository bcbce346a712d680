// ParameterGrid::refit: the loss of each row before and after, and what is put back.
#include <algorithm>

#include "quant/grids/common.h"
#include "tensor/linalg.h"

namespace twofold {
namespace {

/// Parameters of one set.
struct SetParameters {
  float scale = 0, zero = 0, offset = 0;
};

}  // namespace

std::vector<double> value_squares(Matrix<const float> value, Matrix<const double> h, Isa isa) {
  std::vector<double> wide(static_cast<size_t>(value.rows * value.cols));
  for (int64_t r = 0; r < value.rows; ++r) {
    std::copy_n(value.data + r * value.stride, value.cols, wide.data() + r * value.cols);
  }
  return quadratic_forms({wide.data(), value.rows, value.cols}, h, isa);
}

std::optional<float> ParameterGrid::storable_scale(double scale, int64_t row) const {
  constexpr double kMost = 65504;  // of binary16
  if (!(scale > 0 && scale <= kMost)) return {};
  return stored_scale(static_cast<float>(scale), q_.scheme.scale_sharing, where_, row);
}

// Values move by t v, and the loss by t^2 v H v^T - 2 t v slope^T. In terms of the weights:
// 1 + t = (v H w^T) / (v H v^T).
void ParameterGrid::propose(const RefitProblem& problem, Matrix<const float> value) {
  const std::vector<double> squares = value_squares(value, problem.h, problem.isa);
  for (int64_t r = 0; r < value.rows; ++r) {
    double down = 0;
    for (int64_t c = 0; c < value.cols; ++c) down += value.at(r, c) * problem.slope.at(r, c);
    const double square = squares[static_cast<size_t>(r)];
    if (!(square > 0)) continue;
    const int64_t row = problem.row_begin + r;
    float& scale = q_.scale[set_of(row, problem.col_begin)];
    scale = storable_scale(scale * (1 + down / square), row).value_or(scale);
  }
}

bool ParameterGrid::refit(const RefitProblem& problem, Matrix<float> value) {
  if (!refits()) return false;
  const int64_t rows = problem.codes.rows, n = problem.codes.cols;
  const auto set_of_row = [&](int64_t r) {
    return set_of(problem.row_begin + r, problem.col_begin);
  };
  const bool tables = q_.scheme.table_sharing == q_.scheme.scale_sharing && !q_.levels.empty();
  const size_t levels = tables ? size_t{1} << q_.scheme.bits : 0;
  std::vector<SetParameters> before(static_cast<size_t>(rows));
  std::vector<float> levels_before(static_cast<size_t>(rows) * levels);
  for (int64_t r = 0; r < rows; ++r) {
    const size_t i = static_cast<size_t>(r), set = set_of_row(r);
    before[i] = {.scale = q_.scale[set],
                 .zero = q_.zero.empty() ? 0 : q_.zero[set],
                 .offset = q_.offset.empty() ? 0 : q_.offset[set]};
    std::copy_n(q_.levels.data() + set * levels, levels, levels_before.data() + i * levels);
  }
  std::vector<float> values_before(static_cast<size_t>(rows * n));
  const Matrix<float> old(values_before.data(), rows, n);
  values(problem.col_begin, problem.row_begin, problem.codes, old);
  propose(problem, old);
  values(problem.col_begin, problem.row_begin, problem.codes, value);
  std::vector<double> moves(static_cast<size_t>(rows * n));
  for (int64_t i = 0; i < rows * n; ++i) {
    const double now = value.at(i / n, i % n);
    moves[static_cast<size_t>(i)] = now - values_before[static_cast<size_t>(i)];
  }
  std::vector<double> change = quadratic_forms({moves.data(), rows, n}, problem.h, problem.isa);
  bool moved = false;
  for (int64_t r = 0; r < rows; ++r) {
    const size_t i = static_cast<size_t>(r), set = set_of_row(r);
    const double* move = moves.data() + r * n;
    for (int64_t c = 0; c < n; ++c) change[i] -= 2 * move[c] * problem.slope.at(r, c);
    if (change[i] < 0) {
      moved = true;
      continue;
    }
    q_.scale[set] = before[i].scale;
    if (!q_.zero.empty()) q_.zero[set] = before[i].zero;
    if (!q_.offset.empty()) q_.offset[set] = before[i].offset;
    std::copy_n(levels_before.data() + i * levels, levels, q_.levels.data() + set * levels);
    restored(set);
    std::copy_n(old.data + r * n, n, value.data + r * value.stride);
  }
  return moved;
}

}  // namespace twofold

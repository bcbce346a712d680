// One matrix through transform, grid and rounding, and the loss that results.
#include <cmath>

#include "base/error.h"
#include "quant/method.h"
#include "quant/row_chunks.h"

namespace twofold {
namespace {

/// W with a check that every weight is finite; [rows, cols] packed.
std::vector<float> finite_copy(const Problem& problem, const Context& ctx) {
  const Matrix<const float> w = problem.weight;
  std::vector<float> copy(static_cast<size_t>(w.rows * w.cols));
  for_row_chunks(ctx.pool, w.rows, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const std::span<const float> row = w.row(r);
      for (int64_t c = 0; c < w.cols; ++c) {
        const float value = row[static_cast<size_t>(c)];
        if (!std::isfinite(value)) {
          fail(ErrorCode::kUnsupported, problem.matrix_name,
               "weight at row {}, column {} is {}: only finite weights can be quantized", r, c,
               value);
        }
        copy[static_cast<size_t>(r * w.cols + c)] = value;
      }
    }
  });
  return copy;
}

/// x H x^T for one row. @param x [n].  @param h [n, n].  @param scratch [n].
double quadratic_form(std::span<const double> x, const std::vector<double>& h,
                      std::vector<double>& scratch) {
  const size_t n = x.size();
  std::fill(scratch.begin(), scratch.end(), 0.0);
  for (size_t i = 0; i < n; ++i) {
    if (x[i] == 0) continue;
    const double* row = h.data() + i * n;
    for (size_t j = 0; j < n; ++j) scratch[j] += x[i] * row[j];
  }
  double sum = 0;
  for (size_t j = 0; j < n; ++j) sum += scratch[j] * x[j];
  return sum;
}

double square_sum(std::span<const double> x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return sum;
}

/// tr(E H E^T) / tr(W H W^T) with E = restored - W; rows are summed in order.
double relative_loss(Matrix<const float> weight, Matrix<const float> restored,
                     const SecondMoment* moment, const Context& ctx) {
  const size_t rows = static_cast<size_t>(weight.rows), cols = static_cast<size_t>(weight.cols);
  std::vector<double> error(rows), energy(rows);
  for_row_chunks(ctx.pool, weight.rows, [&](int64_t begin, int64_t end) {
    std::vector<double> e(cols), w(cols), scratch(moment != nullptr ? cols : 0);
    for (int64_t r = begin; r < end; ++r) {
      ctx.check_cancelled();
      for (size_t c = 0; c < cols; ++c) {
        w[c] = weight.row(r)[c];
        e[c] = static_cast<double>(restored.row(r)[c]) - w[c];
      }
      const size_t i = static_cast<size_t>(r);
      error[i] = moment != nullptr ? quadratic_form(e, moment->h, scratch) : square_sum(e);
      energy[i] = moment != nullptr ? quadratic_form(w, moment->h, scratch) : square_sum(w);
    }
  });
  double total_error = 0, total_energy = 0;
  for (size_t r = 0; r < rows; ++r) {
    total_error += error[r];
    total_energy += energy[r];
  }
  return total_energy > 0 ? total_error / total_energy : 0;
}

void check_problem(const Rounding& rounding, const Problem& problem) {
  const int64_t rows = problem.weight.rows, cols = problem.weight.cols;
  if (rows < 1 || cols < 1) {
    fail(ErrorCode::kUnsupported, problem.matrix_name, "expected a matrix, found [{}, {}]", rows,
         cols);
  }
  if (rounding.needs_moment && problem.moment == nullptr) {
    fail(ErrorCode::kInvalidArgument, problem.matrix_name,
         "rounding {} needs second moments: give calibration data", rounding.name);
  }
  if (problem.moment != nullptr) {
    TWOFOLD_ASSERT(problem.moment->cols == cols &&
                   problem.moment->h.size() == static_cast<size_t>(cols * cols));
    for (double h : problem.moment->h) {
      if (!std::isfinite(h)) {
        fail(ErrorCode::kUnsupported, problem.input_name, "the second moment holds {}", h);
      }
    }
  }
}

}  // namespace

Solution solve(const MethodChoice& choice, const Problem& problem, const Context& ctx) {
  const Rounding& rounding = find_rounding(choice.rounding);
  const Transform& transform = find_transform(choice.transform);
  check_problem(rounding, problem);
  const int64_t rows = problem.weight.rows, cols = problem.weight.cols;
  std::vector<float> basis = finite_copy(problem, ctx);
  const Matrix<float> weight(basis.data(), rows, cols);
  SecondMoment moment;
  Matrix<double> h;
  if (problem.moment != nullptr) {
    moment = *problem.moment;
    h = {moment.h.data(), cols, cols};
  }
  const TransformSpec spec =
      transform.fit(weight, h, problem.seed, problem.input_name, problem.matrix_name);
  const auto prepared = transform.prepare(spec, rows, cols);
  prepared->apply_weight(weight);
  if (problem.moment != nullptr) prepared->apply_moment(h);

  auto grid = find_grid(choice.grid)
                  .make({.rows = rows,
                         .cols = cols,
                         .bits = choice.bits,
                         .group = choice.group,
                         .params = choice.params,
                         .where = std::string(problem.matrix_name)});
  std::vector<uint16_t> codes =
      rounding.run({.weight = weight,
                    .moment = problem.moment != nullptr ? &moment : nullptr,
                    .params = choice.params},
                   *grid, ctx);
  Solution solution;
  solution.q = std::move(*grid).finish(std::move(codes));
  solution.q.transform = spec;
  validate(solution.q);
  restore(solution.q, weight);
  solution.proxy_loss = relative_loss(problem.weight, weight, problem.moment, ctx);
  return solution;
}

}  // namespace twofold

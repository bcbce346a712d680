// One matrix through transform, grid and rounding, and the loss that results.
#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "base/rng.h"
#include "quant/dequantize_rows.h"
#include "quant/method.h"
#include "quant/proxy_loss.h"
#include "quant/row_chunks.h"
#include "tensor/linalg.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

/// In the order of Ops::extent numbers that are not finite are outermost.
bool all_finite(std::span<const float> row, const Ops& op) {
  float lo = 0, hi = 0;
  op.extent(row.data(), std::ssize(row), &lo, &hi);
  return std::isfinite(lo) && std::isfinite(hi);
}

void check_finite(const Problem& problem, const Context& ctx) {
  if (problem.known_finite) return;
  const Matrix<const float> w = problem.weight;
  const Ops& op = ops(ctx.isa);
  for_row_chunks(ctx.pool, w.rows, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const std::span<const float> row = w.row(r);
      if (all_finite(row, op)) continue;
      for (int64_t c = 0; c < w.cols; ++c) {
        const float value = row[static_cast<size_t>(c)];
        if (!std::isfinite(value)) {
          fail(ErrorCode::kUnsupported, problem.matrix_name,
               "weight at row {}, column {} is {}: only finite weights can be quantized", r, c,
               value);
        }
      }
    }
  });
}

/// [rows, cols] packed.
AlignedBuffer<float> packed_copy(Matrix<const float> w, ThreadPool& pool) {
  AlignedBuffer<float> copy(static_cast<size_t>(w.rows * w.cols));
  for_row_chunks(pool, w.rows, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::copy_n(w.data + r * w.stride, w.cols, copy.data() + r * w.cols);
    }
  });
  return copy;
}

/// `restore` by all threads.
void restore_rows(const QuantizedMatrix& q, const PreparedTransform& transform, Matrix<float> out,
                  ThreadPool& pool) {
  for_row_chunks(pool, q.rows, [&](int64_t begin, int64_t end) {
    dequantize_rows(q, begin, {out.data + begin * out.stride, end - begin, out.cols, out.stride});
  });
  transform.undo_weight(out);
}

void check_moment(const MethodChoice& choice, const SecondMoment* moment, std::string_view name) {
  if (moment != nullptr || !needs_moment(choice)) return;
  fail(ErrorCode::kInvalidArgument, name,
       "method {} with transform {} and rounding {} needs second moments: give calibration data",
       choice.method, choice.transform, choice.rounding);
}

void check_problem(const MethodChoice& choice, const Problem& problem) {
  const int64_t rows = problem.weight.rows, cols = problem.weight.cols;
  if (rows < 1 || cols < 1) {
    fail(ErrorCode::kUnsupported, problem.matrix_name, "expected a matrix, found [{}, {}]", rows,
         cols);
  }
  check_moment(choice, problem.moment, problem.matrix_name);
}

/// The transform's input side, and the moment in its stored basis.
struct InputSide {
  TransformSpec spec;
  std::optional<ConditionedMoment> moment;
};

InputSide make_input_side(const MethodChoice& choice, const InputProblem& problem,
                          const Context& ctx) {
  const Transform& transform = find_transform(choice.transform);
  for (const Matrix<const float>& weight : problem.weights) {
    transform.check_shape(choice.params, weight.rows, weight.cols);
  }
  InputSide side;
  if (problem.moment != nullptr) {
    side.moment.emplace(*problem.moment, choice.params.get_float("damping"), problem.name);
  }
  TransformProblem fitted{.weights = problem.weights,
                          .moment = {},
                          .mean_magnitude = {},
                          .params = choice.params,
                          .seed = problem.seed,
                          .name = problem.name,
                          .trial = {}};
  if (side.moment) {
    fitted.moment = std::as_const(*side.moment).h();
    fitted.mean_magnitude = problem.moment->mean_magnitude;
    fitted.trial = [&](std::span<const float> input_scale) {
      return nearest_loss(choice, fitted.weights, fitted.moment, input_scale, ctx);
    };
  }
  side.spec = transform.fit_input(fitted, ctx.pool);
  const Matrix<const float> first = problem.weights.front();
  if (side.moment) {
    transform.prepare(side.spec, 0, first.cols)->apply_moment(side.moment->h());
  }
  return side;
}

/// One matrix in the basis that is stored.
struct StoredWeight {
  std::optional<InputSide> own;  // without a shared one
  const InputSide& side;
  TransformSpec spec;
  std::unique_ptr<const PreparedTransform> transform;
  AlignedBuffer<float> copy;  // of the weights, in the basis that is stored, unless it is their own
  Matrix<const float> weight;

  StoredWeight(const MethodChoice& choice, const InputSide* shared, const Problem& problem,
               const Context& ctx)
      : own(shared != nullptr ? std::nullopt
                              : std::optional(make_input_side(choice,
                                                              {.moment = problem.moment,
                                                               .weights = {problem.weight},
                                                               .seed = problem.seed,
                                                               .name = problem.matrix_name},
                                                              ctx))),
        side(shared != nullptr ? *shared : *own),
        spec(side.spec),
        weight(problem.weight) {
    const Transform& kind = find_transform(choice.transform);
    const int64_t rows = weight.rows, cols = weight.cols;
    kind.add_output(spec, problem.seed, problem.matrix_name, rows);
    transform = kind.prepare(spec, rows, cols);
    if (transform->identity()) return;
    copy = packed_copy(weight, ctx.pool);
    transform->apply_weight({copy.data(), rows, cols});
    weight = {copy.data(), rows, cols};
  }
  StoredWeight(const StoredWeight&) = delete;
  StoredWeight& operator=(const StoredWeight&) = delete;

  const ConditionedMoment* moment() const { return side.moment ? &*side.moment : nullptr; }
};

}  // namespace

class PreparedInput {
 public:
  /// Nothing if each matrix has an input side of its own.
  std::optional<InputSide> side;
};

std::shared_ptr<const PreparedInput> prepare_input(const MethodChoice& choice,
                                                   const InputProblem& problem,
                                                   const Context& ctx) {
  check_moment(choice, problem.moment, problem.name);
  auto prepared = std::make_shared<PreparedInput>();
  if (!find_transform(choice.transform).per_matrix(choice.params)) {
    prepared->side = make_input_side(choice, problem, ctx);
  }
  return prepared;
}

Solution solve(const MethodChoice& choice, const PreparedInput& input, const Problem& problem,
               const Context& ctx) {
  const Rounding& rounding = find_rounding(choice.rounding);
  check_problem(choice, problem);
  const int64_t rows = problem.weight.rows, cols = problem.weight.cols;
  check_finite(problem, ctx);
  StoredWeight stored(choice, input.side ? &*input.side : nullptr, problem, ctx);
  const PreparedTransform& prepared = *stored.transform;
  auto grid = make_grid(choice, rows, cols, problem.matrix_name, ctx.isa);
  RoundingResult rounded = rounding.run(
      {.weight = stored.weight, .moment = stored.moment(), .params = choice.params}, *grid, ctx);
  Solution solution;
  solution.notes = std::move(rounded.notes);
  if (!choice.note.empty()) solution.notes.push_back(choice.note);
  const std::string note = find_transform(choice.transform).check_shape(choice.params, rows, cols);
  if (!note.empty()) solution.notes.push_back(note);
  solution.explore_seconds = rounded.explore_seconds;
  solution.q = std::move(*grid).finish(std::move(rounded.codes));
  solution.q.transform = stored.spec;
  const QuantizedMatrix& q = solution.q;
  RestoredRow restored = [&](int64_t row, std::span<float> out) {
    dequantize_rows(q, row, {out.data(), 1, cols});
  };
  if (!prepared.identity()) {
    restore_rows(q, prepared, {stored.copy.data(), rows, cols}, ctx.pool);
    restored = [&](int64_t row, std::span<float> out) {
      std::copy_n(stored.copy.data() + row * cols, cols, out.data());
    };
  }
  Matrix<const double> h;
  if (problem.moment != nullptr) h = {problem.moment->h.data(), cols, cols};
  const ProxyLoss loss = proxy_loss(problem.weight, restored, h, ctx);
  solution.proxy_loss = loss.relative();
  solution.loss = loss.loss;
  solution.energy = loss.energy;
  return solution;
}

Solution solve(const MethodChoice& choice, const Problem& problem, const Context& ctx) {
  check_problem(choice, problem);
  check_finite(problem, ctx);  // before anything is fitted to it
  const auto input = prepare_input(choice,
                                   {.moment = problem.moment,
                                    .weights = {problem.weight},
                                    .seed = problem.seed,
                                    .name = problem.input_name},
                                   ctx);
  return solve(choice, *input, problem, ctx);
}

void add_expected_error(const MethodChoice& choice, const Problem& problem, double distortion,
                        const Context& ctx, Matrix<float> out) {
  check_problem(choice, problem);
  check_finite(problem, ctx);
  TWOFOLD_ASSERT(problem.moment != nullptr);
  const InputSide side = make_input_side(choice,
                                         {.moment = problem.moment,
                                          .weights = {problem.weight},
                                          .seed = problem.seed,
                                          .name = problem.input_name},
                                         ctx);
  const StoredWeight stored(choice, &side, problem, ctx);
  const int64_t rows = stored.weight.rows, cols = stored.weight.cols;
  std::shared_ptr<const MomentFactor> factor;
  if (find_rounding(choice.rounding).needs_moment) {
    factor = side.moment->factor(ColumnOrder::kNatural, 1, ctx);
  }
  for_row_chunks(ctx.pool, rows, [&](int64_t begin, int64_t end) {
    const int64_t count = end - begin;
    std::vector<double> errors(static_cast<size_t>(cols * count));  // [cols, count]
    for (int64_t r = begin; r < end; ++r) {
      Rng rng(problem.seed, fmt::format("expected error {} {}", problem.matrix_name, r));
      double squares = 0;
      for (const float w : stored.weight.row(r)) squares += static_cast<double>(w) * w;
      const double deviation = std::sqrt(distortion * squares / static_cast<double>(cols));
      for (int64_t j = 0; j < cols; ++j) {
        const double pivot = factor != nullptr ? factor->lower().at(j, j) : 1;
        errors[static_cast<size_t>(j * count + r - begin)] = deviation * pivot * rng.normal();
      }
    }
    if (factor != nullptr) solve_lower(factor->lower(), {errors.data(), cols, count}, ctx.isa);
    for (int64_t r = begin; r < end; ++r) {
      for (int64_t j = 0; j < cols; ++j) {
        const double error = errors[static_cast<size_t>(j * count + r - begin)];
        out.at(r, j) = static_cast<float>(stored.weight.at(r, j) + error);
      }
    }
  });
  stored.transform->undo_weight(out);
}

}  // namespace twofold

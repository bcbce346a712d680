// One matrix through transform, grid and rounding, and the loss that results.
#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "quant/dequantize_rows.h"
#include "quant/method.h"
#include "quant/proxy_loss.h"
#include "quant/row_chunks.h"
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
  const Transform& transform = find_transform(choice.transform);
  check_problem(choice, problem);
  const int64_t rows = problem.weight.rows, cols = problem.weight.cols;
  check_finite(problem, ctx);
  std::optional<InputSide> own;
  if (!input.side) {
    own = make_input_side(choice,
                          {.moment = problem.moment,
                           .weights = {problem.weight},
                           .seed = problem.seed,
                           .name = problem.matrix_name},
                          ctx);
  }
  const InputSide& side = own ? *own : *input.side;
  TransformSpec spec = side.spec;
  transform.add_output(spec, problem.seed, problem.matrix_name, rows);
  const std::unique_ptr<const PreparedTransform> prepared = transform.prepare(spec, rows, cols);
  AlignedBuffer<float> copy;  // of the weights, in the basis that is stored, unless it is their own
  Matrix<const float> weight = problem.weight;
  if (!prepared->identity()) {
    copy = packed_copy(problem.weight, ctx.pool);
    prepared->apply_weight({copy.data(), rows, cols});
    weight = {copy.data(), rows, cols};
  }

  auto grid = make_grid(choice, rows, cols, problem.matrix_name);
  RoundingResult rounded = rounding.run(
      {.weight = weight, .moment = side.moment ? &*side.moment : nullptr, .params = choice.params},
      *grid, ctx);
  Solution solution;
  solution.notes = std::move(rounded.notes);
  const std::string note = transform.check_shape(choice.params, rows, cols);
  if (!note.empty()) solution.notes.push_back(note);
  solution.explore_seconds = rounded.explore_seconds;
  solution.q = std::move(*grid).finish(std::move(rounded.codes));
  solution.q.transform = spec;
  const QuantizedMatrix& q = solution.q;
  RestoredRow restored = [&](int64_t row, std::span<float> out) {
    dequantize_rows(q, row, {out.data(), 1, cols});
  };
  if (!prepared->identity()) {
    restore_rows(q, *prepared, {copy.data(), rows, cols}, ctx.pool);
    restored = [&](int64_t row, std::span<float> out) {
      std::copy_n(copy.data() + row * cols, cols, out.data());
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

}  // namespace twofold

#include "quant/proxy_loss.h"

#include "quant/rounding/common.h"
#include "quant/row_chunks.h"
#include "tensor/linalg.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

/// x H x^T summed over the rows of x, in order. @param x [rows, cols].
double total_form(Matrix<const double> x, Matrix<const double> h, Isa isa) {
  double sum = 0;
  for (double form : quadratic_forms(x, h, isa)) sum += form;
  return sum;
}

/// chunk_loss(begin, end) over all chunks of rows, summed in order.
template <class ChunkLoss>
double sum_over_chunks(int64_t rows, const Context& ctx, const ChunkLoss& chunk_loss) {
  std::vector<double> losses(static_cast<size_t>(ceil_div(rows, kRowChunk)));
  for_row_chunks(ctx.pool, rows, [&](int64_t begin, int64_t end) {
    ctx.check_cancelled();
    losses[static_cast<size_t>(begin / kRowChunk)] = chunk_loss(begin, end);
  });
  double sum = 0;
  for (double loss : losses) sum += loss;
  return sum;
}

double total(const double (&lanes)[SquareSums::kLanes]) {
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

/// `proxy_loss` with the unit matrix as H: the squared error and the squared weights.
ProxyLoss squares(Matrix<const float> weight, const RestoredRow& restored, const Context& ctx) {
  const auto add_squares = ops(ctx.isa).add_squares;
  std::vector<double> energies(static_cast<size_t>(ceil_div(weight.rows, kRowChunk)));
  const double loss = sum_over_chunks(weight.rows, ctx, [&](int64_t begin, int64_t end) {
    SquareSums sums{};
    std::vector<float> row(static_cast<size_t>(weight.cols));
    for (int64_t r = begin; r < end; ++r) {
      restored(r, row);
      add_squares(weight.row(r).data(), row.data(), weight.cols, &sums);
    }
    energies[static_cast<size_t>(begin / kRowChunk)] = total(sums.x);
    return total(sums.distance);
  });
  double energy = 0;
  for (double part : energies) energy += part;
  return {loss, energy};
}

}  // namespace

ProxyLoss proxy_loss(Matrix<const float> weight, const RestoredRow& restored,
                     Matrix<const double> h, const Context& ctx) {
  if (h.data == nullptr) return squares(weight, restored, ctx);
  const auto loss_of = [&](auto&& fill_row) {
    return sum_over_chunks(weight.rows, ctx, [&](int64_t begin, int64_t end) {
      std::vector<double> x(static_cast<size_t>((end - begin) * weight.cols));
      for (int64_t r = begin; r < end; ++r) fill_row(r, x.data() + (r - begin) * weight.cols);
      return total_form({x.data(), end - begin, weight.cols}, h, ctx.isa);
    });
  };
  const double energy = loss_of([&](int64_t r, double* x) {
    for (int64_t c = 0; c < weight.cols; ++c) x[c] = weight.at(r, c);
  });
  if (!(energy > 0)) return {0, energy};
  const double loss = loss_of([&](int64_t r, double* x) {
    std::vector<float> row(static_cast<size_t>(weight.cols));
    restored(r, row);
    for (int64_t c = 0; c < weight.cols; ++c) {
      x[c] = static_cast<double>(row[static_cast<size_t>(c)]) - weight.at(r, c);
    }
  });
  return {loss, energy};
}

double nearest_loss(const MethodChoice& choice, std::span<const Matrix<const float>> weights,
                    Matrix<const double> h, std::span<const float> input_scale,
                    const Context& ctx) {
  const int64_t cols = h.cols;
  std::vector<float> importance(static_cast<size_t>(cols));  // of the scaled columns
  for (int64_t c = 0; c < cols; ++c) {
    const double scale = input_scale[static_cast<size_t>(c)];
    importance[static_cast<size_t>(c)] = static_cast<float>(h.at(c, c) / (scale * scale));
  }
  double total = 0;
  for (const Matrix<const float>& weight : weights) {
    std::vector<float> scaled(static_cast<size_t>(weight.rows * cols));
    size_t i = 0;
    for (int64_t r = 0; r < weight.rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        scaled[i++] = weight.at(r, c) * input_scale[static_cast<size_t>(c)];
      }
    }
    const Matrix<const float> target(scaled.data(), weight.rows, cols);
    const auto grid = make_grid(choice, weight.rows, cols, "trial");
    fit_groups(*grid, target, importance, ctx.pool);
    total += sum_over_chunks(weight.rows, ctx, [&](int64_t begin, int64_t end) {
      const int64_t rows = end - begin;
      std::vector<uint16_t> codes(static_cast<size_t>(rows * cols));
      std::vector<float> values(codes.size());
      for_groups(*grid, cols, [&](int64_t col, int64_t count) {
        grid->round(col, begin, {target.data + begin * cols + col, rows, count, cols},
                    {codes.data() + col, rows, count, cols},
                    {values.data() + col, rows, count, cols});
      });
      std::vector<double> error(codes.size());
      size_t k = 0;
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t c = 0; c < cols; ++c, ++k) {
          const double scale = input_scale[static_cast<size_t>(c)];
          error[k] = (static_cast<double>(values[k]) - target.at(r, c)) / scale;
        }
      }
      return total_form({error.data(), rows, cols}, h, ctx.isa);
    });
  }
  return total;
}

}  // namespace twofold

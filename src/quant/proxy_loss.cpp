#include "quant/proxy_loss.h"

#include <array>

#include "quant/rounding/common.h"
#include "quant/row_chunks.h"
#include "tensor/linalg.h"

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

/// Sums of squares of numbers given eight at a time, side by side so that they become vectors.
struct SquareSum {
  static constexpr int64_t kLanes = 8;
  std::array<double, kLanes> lanes{};
  double total() const {
    double sum = 0;
    for (double lane : lanes) sum += lane;
    return sum;
  }
};

/// `relative_loss` with the unit matrix as H: the squared error over the squared weights.
double relative_squares(Matrix<const float> weight, Matrix<const float> restored,
                        const Context& ctx) {
  constexpr int64_t kLanes = SquareSum::kLanes;
  std::vector<double> energies(static_cast<size_t>(ceil_div(weight.rows, kRowChunk)));
  const double loss = sum_over_chunks(weight.rows, ctx, [&](int64_t begin, int64_t end) {
    SquareSum energy, error;
    const auto add = [&](float w, float q, int64_t lane) {
      const double wide = w, distance = static_cast<double>(q) - wide;
      energy.lanes[static_cast<size_t>(lane)] += wide * wide;
      error.lanes[static_cast<size_t>(lane)] += distance * distance;
    };
    for (int64_t r = begin; r < end; ++r) {
      const float* w = weight.data + r * weight.stride;
      const float* q = restored.data + r * restored.stride;
      int64_t c = 0;
      for (; c + kLanes <= weight.cols; c += kLanes) {
        for (int64_t k = 0; k < kLanes; ++k) add(w[c + k], q[c + k], k);
      }
      for (; c < weight.cols; ++c) add(w[c], q[c], 0);
    }
    energies[static_cast<size_t>(begin / kRowChunk)] = energy.total();
    return error.total();
  });
  double energy = 0;
  for (double part : energies) energy += part;
  return energy > 0 ? loss / energy : 0;
}

}  // namespace

double relative_loss(Matrix<const float> weight, Matrix<const float> restored,
                     Matrix<const double> h, const Context& ctx) {
  if (h.data == nullptr) return relative_squares(weight, restored, ctx);
  const auto loss_of = [&](auto&& entry) {
    return sum_over_chunks(weight.rows, ctx, [&](int64_t begin, int64_t end) {
      std::vector<double> x(static_cast<size_t>((end - begin) * weight.cols));
      size_t i = 0;
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t c = 0; c < weight.cols; ++c) x[i++] = entry(r, c);
      }
      return total_form({x.data(), end - begin, weight.cols}, h, ctx.isa);
    });
  };
  const double energy = loss_of([&](int64_t r, int64_t c) -> double { return weight.at(r, c); });
  if (!(energy > 0)) return 0;
  return loss_of([&](int64_t r, int64_t c) {
           return static_cast<double>(restored.at(r, c)) - weight.at(r, c);
         }) /
         energy;
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
    const auto grid = find_grid(choice.grid)
                          .make({.rows = weight.rows,
                                 .cols = cols,
                                 .bits = choice.bits,
                                 .group = choice.group,
                                 .params = choice.params,
                                 .where = "trial"});
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

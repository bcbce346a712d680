#include "quant/rounding/row_block.h"

#include <algorithm>
#include <cmath>

#include "base/checked_math.h"
#include "tensor/linalg.h"

namespace twofold {
namespace {

/// Columns after which the feedback inside a lazy block is added up as a product: up to there
/// column by column.
constexpr int64_t kInner = 16;

/// R^T with H = R R^T, R upper triangular.  @param h [n, n], positive definite.
std::vector<double> block_factor(Matrix<const double> h) {
  const int64_t n = h.rows;
  std::vector<double> lower(static_cast<size_t>(n * n));
  const auto at = [&](int64_t i, int64_t j) -> double& {
    return lower[static_cast<size_t>(i * n + j)];
  };
  for (int64_t j = n - 1; j >= 0; --j) {
    for (int64_t i = j; i >= 0; --i) {
      double sum = h.at(i, j);
      for (int64_t k = j + 1; k < n; ++k) sum -= at(k, i) * at(k, j);
      at(j, i) = i == j ? std::sqrt(sum) : sum / at(j, j);
    }
  }
  return lower;
}

/// y += factor x.  @param x, y [n].
void add_scaled(double factor, const double* x, double* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

}  // namespace

RowBlock::RowBlock(Matrix<const float> weight, const MomentFactor& factor,
                   std::vector<const FittedGrid*> grids, int64_t begin, int64_t end, Isa isa)
    : weight_(weight.data + begin * weight.stride, end - begin, weight.cols, weight.stride),
      factor_(factor),
      lower_(factor.lower()),
      grids_(std::move(grids)),
      isa_(isa),
      begin_(begin),
      end_(end),
      rows_(end - begin),
      lanes_(rows_ * static_cast<int64_t>(grids_.size())),
      stride_(round_up(lanes_, kProductCols)),
      width_(grids_.front()->width()),
      errors_(static_cast<size_t>(weight.cols * stride_)),
      codes_(static_cast<size_t>(weight.cols * lanes_)),
      losses_(static_cast<size_t>(lanes_)),
      wanted_(static_cast<size_t>(rows_ * width_)),
      value_(wanted_.size()),
      chosen_(wanted_.size()),
      target_(static_cast<size_t>(lanes_ * width_)),
      slope_stride_(product_stride(weight.cols)) {
  std::fill_n(errors_.data(), errors_.size(), 0.0);
}

int64_t RowBlock::whole_blocks(int64_t first, int64_t count) const {
  int64_t end = first;
  while (end < weight_.cols && end + block_width(end) <= first + count) end += block_width(end);
  return end - first;
}

void RowBlock::make_current(int64_t first, int64_t count) {
  first_ = first;
  count_ = count;
  weights_.resize(static_cast<size_t>(count * rows_));
  for (int64_t r = 0; r < rows_; ++r) {
    const float* row = weight_.data + r * weight_.stride;
    for (int64_t k = 0; k < count; ++k) {
      weights_[static_cast<size_t>(k * rows_ + r)] =
          row[factor_.order[static_cast<size_t>(first + k)]];
    }
  }
}

void RowBlock::enter(int64_t first, int64_t count) {
  make_current(first, count);
  sums_.ensure(static_cast<size_t>(count * stride_));
  std::fill_n(sums_.data(), count * stride_, 0.0);
  add_product(part(lower_, first, 0, count, first), lanes_of(error(0), first),
              lanes_of(sum(first), count), isa_);
}

void RowBlock::compensated_weights(size_t candidate, Matrix<float> out) const {
  std::vector<double> x(static_cast<size_t>(count_ * rows_));  // [count_, rows_]
  for (int64_t k = 0; k < count_; ++k) {
    std::copy_n(sums_.data() + k * stride_ + lane(candidate, begin_), rows_, x.data() + k * rows_);
  }
  solve_lower(part(lower_, first_, first_, count_, count_), {x.data(), count_, rows_}, isa_);
  for (int64_t k = 0; k < count_; ++k) {
    const float* weight = weights(first_ + k);
    for (int64_t r = 0; r < rows_; ++r) {
      const double target = weight[r] + x[static_cast<size_t>(k * rows_ + r)];
      out.at(r, k) = static_cast<float>(std::clamp(target, -kMostTarget, kMostTarget));
    }
  }
}

void RowBlock::round_with_feedback() {
  const int64_t end = first_ + count_;
  for (int64_t inner = first_, inner_end = first_; inner < end; inner = inner_end) {
    inner_end += whole_blocks(inner, std::min(kInner, end - inner));
    for (int64_t position = inner; position < inner_end;) {
      const int64_t width = block_width(position);
      add_feedback(inner, position, position, width);
      round_block(position, width);
      position += width;
    }
    add_feedback(inner, inner_end, inner_end, end - inner_end);
  }
}

void RowBlock::add_feedback(int64_t from, int64_t to, int64_t position, int64_t count) {
  add_product(part(lower_, position, from, count, to - from), lanes_of(error(from), to - from),
              lanes_of(sum(position), count), isa_);
}

// T_B = W_B + S_B R_BB^-1 by forward substitution, Q_B from the grid, then |S_B + E_B R_BB|^2 more
// loss; S are the sums.
void RowBlock::round_block(int64_t position, int64_t width) {
  const double* sums = sum(position);
  for (int64_t k = 0; k < width; ++k) {
    double* target = target_.data() + k * lanes_;
    std::copy_n(sums + k * stride_, lanes_, target);
    for (int64_t i = 0; i < k; ++i) {
      add_scaled(-lower_.at(position + k, position + i), target_.data() + i * lanes_, target,
                 lanes_);
    }
    const double pivot = lower_.at(position + k, position + k);
    for (int64_t l = 0; l < lanes_; ++l) target[l] /= pivot;
  }
  for (int64_t k = 0; k < width; ++k) {
    const float* weight = weights(position + k);
    double* target = target_.data() + k * lanes_;
    for (size_t candidate = 0; candidate < grids_.size(); ++candidate) {
      double* lanes = target + lane(candidate, begin_);
      for (int64_t r = 0; r < rows_; ++r) lanes[r] += weight[r];
    }
  }
  round_lanes(position, width, part(lower_, position, position, width, width));
  for (int64_t k = 0; k < width; ++k) {
    double* product = target_.data() + k * lanes_;  // (E R) of this column
    std::copy_n(sums + k * stride_, lanes_, product);
    for (int64_t i = 0; i <= k; ++i) {
      add_scaled(lower_.at(position + k, position + i), error(position + i), product, lanes_);
    }
    for (int64_t l = 0; l < lanes_; ++l) {
      losses_[static_cast<size_t>(l)] += product[l] * product[l];
    }
  }
}

/// Codes and errors of `width` columns, wanted to be target_.
/// @param lower R^T of the block; empty: each column for itself.
void RowBlock::round_lanes(int64_t position, int64_t width, Matrix<const double> lower) {
  const int64_t col = factor_.order[static_cast<size_t>(position)];
  for (size_t candidate = 0; candidate < grids_.size(); ++candidate) {
    const int64_t offset = lane(candidate, begin_);
    for (int64_t k = 0; k < width; ++k) {
      const double* lanes = target_.data() + k * lanes_ + offset;
      for (int64_t r = 0; r < rows_; ++r) {
        wanted_[static_cast<size_t>(r * width + k)] =
            static_cast<float>(std::clamp(lanes[r], -kMostTarget, kMostTarget));
      }
    }
    const FittedGrid& grid = *grids_[candidate];
    const Matrix<const float> wanted(wanted_.data(), rows_, width);
    const Matrix<uint16_t> chosen(chosen_.data(), rows_, width);
    const Matrix<float> value(value_.data(), rows_, width);
    lower.rows == 0 ? grid.round(col, begin_, wanted, chosen, value)
                    : grid.round_block(col, begin_, wanted, lower, chosen, value);
    for (int64_t k = 0; k < width; ++k) {
      const float* weight = weights(position + k);
      double* errors = error(position + k) + offset;
      uint16_t* codes = codes_.data() + (position + k) * lanes_ + offset;
      for (int64_t r = 0; r < rows_; ++r) {
        const size_t i = static_cast<size_t>(r * width + k);
        errors[r] = static_cast<double>(weight[r]) - value_[i];
        codes[r] = chosen_[i];
      }
    }
  }
}

void RowBlock::round_as_they_are() {
  for (int64_t position = 0; position < weight_.cols;) {
    const int64_t width = block_width(position);
    make_current(position, width);
    for (int64_t l = 0; l < width * lanes_; ++l) {
      target_[static_cast<size_t>(l)] = weights(position + l / lanes_)[l % lanes_ % rows_];
    }
    round_lanes(position, width, {});
    position += width;
  }
}

// With S = (E H)_B - E_B H_BB, what the other columns contribute, the loss of a block is
// E_B H_BB E_B^T + 2 E_B S^T and more that stays; the least is at E_B = -S H_BB^-1.
/// Leaves W_B + S H_BB^-1 in target_.  @param lower R^T with H_BB = R R^T.
/// @param product [width, stride_] E H of the block.
void RowBlock::find_best_places(int64_t position, Matrix<const double> lower,
                                const double* product) {
  const int64_t width = lower.rows;
  const auto target = [&](int64_t column) { return target_.data() + column * lanes_; };
  for (int64_t j = width - 1; j >= 0; --j) {  // Y R^T = (E H)_B
    std::copy_n(product + j * stride_, lanes_, target(j));
    for (int64_t i = j + 1; i < width; ++i)
      add_scaled(-lower.at(i, j), target(i), target(j), lanes_);
    for (int64_t l = 0; l < lanes_; ++l) target(j)[l] /= lower.at(j, j);
  }
  for (int64_t j = 0; j < width; ++j) {  // Z R = Y
    for (int64_t i = 0; i < j; ++i) add_scaled(-lower.at(j, i), target(i), target(j), lanes_);
    for (int64_t l = 0; l < lanes_; ++l) target(j)[l] /= lower.at(j, j);
  }
  for (int64_t i = 0; i < width; ++i) {  // (E H)_B H_BB^-1 = S H_BB^-1 + E_B
    const float* weight = weights(position + i);
    const double* old = old_errors_.data() + i * lanes_;
    for (int64_t l = 0; l < lanes_; ++l) target(i)[l] += weight[l % rows_] - old[l];
  }
}

/// Takes back the errors and codes of the rows that lose by them; moves_ is what is left.
/// @param product [width, stride_] E H of the block with the old errors.
bool RowBlock::keep_better(int64_t position, int64_t width, Matrix<const double> h,
                           const double* product) {
  std::vector<double> change(
      static_cast<size_t>(lanes_));  // of the loss: M H_BB M^T + 2 M (E H)_B^T
  for (int64_t i = 0; i < width; ++i) {
    double* moves = moves_.data() + i * lanes_;
    for (int64_t l = 0; l < lanes_; ++l) {
      moves[l] = error(position + i)[l] - old_errors_[static_cast<size_t>(i * lanes_ + l)];
    }
  }
  for (int64_t i = 0; i < width; ++i) {
    std::vector<double> slope(static_cast<size_t>(lanes_));
    for (int64_t l = 0; l < lanes_; ++l) {
      slope[static_cast<size_t>(l)] = 2 * product[i * stride_ + l];
    }
    for (int64_t k = 0; k < width; ++k) {
      add_scaled(h.at(position + i, position + k), moves_.data() + k * lanes_, slope.data(),
                 lanes_);
    }
    for (int64_t l = 0; l < lanes_; ++l) {
      change[static_cast<size_t>(l)] +=
          slope[static_cast<size_t>(l)] * moves_[static_cast<size_t>(i * lanes_ + l)];
    }
  }
  const int64_t sharing = std::min(grids_.front()->rows_sharing(), rows_);
  bool kept = false;
  for (int64_t first = 0; first < lanes_;) {
    const int64_t count = std::min(sharing, rows_ - first % rows_);
    double sum = 0;
    for (int64_t l = first; l < first + count; ++l) sum += change[static_cast<size_t>(l)];
    if (sum < 0) {
      kept = true;
    } else {
      for (int64_t i = 0; i < width; ++i) {
        std::copy_n(old_errors_.data() + i * lanes_ + first, count, error(position + i) + first);
        std::copy_n(old_codes_.data() + i * lanes_ + first, count,
                    codes_.data() + (position + i) * lanes_ + first);
        std::fill_n(moves_.data() + i * lanes_ + first, count, 0.0);
      }
    }
    first += count;
  }
  return kept;
}

bool RowBlock::greedy_block_pass(Matrix<const double> h) {
  const int64_t cols = weight_.cols;
  bool changed = false;
  const size_t size = static_cast<size_t>(width_ * lanes_);
  old_errors_.resize(size);
  old_codes_.resize(size);
  moves_.resize(size);
  AlignedBuffer<double> products(static_cast<size_t>(kPassBlock * stride_));  // (E H) of a block
  for (int64_t first = 0, count; first < cols; first += count) {
    count = whole_blocks(first, kPassBlock);
    make_current(first, count);
    std::fill_n(products.data(), count * stride_, 0.0);
    add_product(part(h, first, 0, count, cols), lanes_of(error(0), cols),
                lanes_of(products.data(), count), isa_);
    for (int64_t position = first, width; position < first + count; position += width) {
      width = block_width(position);
      const double* product = products.data() + (position - first) * stride_;
      for (int64_t i = 0; i < width; ++i) {
        std::copy_n(error(position + i), lanes_, old_errors_.data() + i * lanes_);
        std::copy_n(codes_.data() + (position + i) * lanes_, lanes_,
                    old_codes_.data() + i * lanes_);
      }
      const std::vector<double> lower = block_factor(part(h, position, position, width, width));
      const Matrix<const double> factor(lower.data(), width, width);
      find_best_places(position, factor, product);
      round_lanes(position, width, factor);
      if (!keep_better(position, width, h, product)) continue;
      changed = true;
      for (int64_t k = position; k < first + count; ++k) {
        for (int64_t i = 0; i < width; ++i) {
          add_scaled(h.at(position + i, k), moves_.data() + i * lanes_,
                     products.data() + (k - first) * stride_, lanes_);
        }
      }
    }
  }
  return changed;
}

void RowBlock::measure_losses() {
  const int64_t cols = weight_.cols;
  std::fill(losses_.begin(), losses_.end(), 0.0);
  AlignedBuffer<double> products(static_cast<size_t>(kPassBlock * stride_));
  for (int64_t first = 0; first < cols; first += kPassBlock) {
    const int64_t count = std::min(kPassBlock, cols - first);
    const int64_t known = first + count;  // R^T has zeros to the right
    std::fill_n(products.data(), count * stride_, 0.0);
    add_product(part(lower_, first, 0, count, known), lanes_of(error(0), known),
                lanes_of(products.data(), count), isa_);
    for (int64_t k = 0; k < count; ++k) {
      const double* product = products.data() + k * stride_;
      for (int64_t l = 0; l < lanes_; ++l) {
        losses_[static_cast<size_t>(l)] += product[l] * product[l];
      }
    }
  }
}

double RowBlock::loss(size_t candidate, int64_t row) const {
  return losses_[static_cast<size_t>(lane(candidate, row))];
}

void RowBlock::copy_codes(size_t candidate, int64_t row, std::span<uint16_t> codes) const {
  const int64_t offset = lane(candidate, row);
  for (int64_t position = 0; position < weight_.cols; ++position) {
    codes[static_cast<size_t>(factor_.order[static_cast<size_t>(position)])] =
        codes_[static_cast<size_t>(position * lanes_ + offset)];
  }
}

}  // namespace twofold

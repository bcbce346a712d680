#include "quant/rounding/row_block.h"

#include <algorithm>
#include <cmath>

#include "tensor/linalg.h"

namespace twofold {
namespace {

/// Columns after which the feedback inside a lazy block is added up as a product: up to there
/// column by column.
constexpr int64_t kInner = 16;
/// Columns of a lazy block of a greedy pass.
constexpr int64_t kPassBlock = 128;
/// Targets beyond this are cut off: with hardly any damping, feedback may exceed float32.
constexpr double kMostTarget = 1e30;

/// y += factor x.  @param x, y [n].
void add_scaled(double factor, const double* x, double* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

}  // namespace

RowBlock::RowBlock(Matrix<const float> weight, const MomentFactor& factor,
                   std::vector<const FittedGrid*> grids, int64_t begin, int64_t end)
    : weight_(weight.data + begin * weight.stride, end - begin, weight.cols, weight.stride),
      factor_(factor),
      r_(factor.matrix()),
      grids_(std::move(grids)),
      begin_(begin),
      end_(end),
      rows_(end - begin),
      lanes_(rows_ * static_cast<int64_t>(grids_.size())),
      width_(grids_.front()->width()),
      errors_(static_cast<size_t>(weight.cols * lanes_)),
      codes_(errors_.size()),
      losses_(static_cast<size_t>(lanes_)),
      wanted_(static_cast<size_t>(rows_ * width_)),
      value_(wanted_.size()),
      chosen_(wanted_.size()),
      target_(static_cast<size_t>(lanes_ * width_)) {}

void RowBlock::enter(int64_t first, int64_t count) {
  first_ = first;
  count_ = count;
  sums_.assign(static_cast<size_t>(count * lanes_), 0.0);
  add_product_tn(1.0, {r_.data + first, first, count, r_.stride}, {errors_.data(), first, lanes_},
                 {sums_.data(), count, lanes_});
}

void RowBlock::compensated_weights(size_t candidate, Matrix<float> out) const {
  std::vector<double> x(static_cast<size_t>(count_ * rows_));  // [count_, rows_]
  for (int64_t k = 0; k < count_; ++k) {
    std::copy_n(sums_.data() + k * lanes_ + lane(candidate, begin_), rows_, x.data() + k * rows_);
  }
  solve_upper_transposed({r_.data + first_ * r_.stride + first_, count_, count_, r_.stride},
                         {x.data(), count_, rows_});
  for (int64_t k = 0; k < count_; ++k) {
    const int64_t col = factor_.order[static_cast<size_t>(first_ + k)];
    for (int64_t r = 0; r < rows_; ++r) {
      const double sum = weight_.at(r, col) + x[static_cast<size_t>(k * rows_ + r)];
      out.at(r, k) = static_cast<float>(std::clamp(sum, -kMostTarget, kMostTarget));
    }
  }
}

void RowBlock::round_with_feedback() {
  const int64_t end = first_ + count_;
  for (int64_t inner = first_; inner < end; inner += kInner) {
    const int64_t inner_end = std::min(inner + kInner, end);
    for (int64_t position = inner; position < inner_end; position += width_) {
      round_block(position);
      for (int64_t k = position + width_; k < inner_end; ++k) {
        for (int64_t i = position; i < position + width_; ++i) {
          add_scaled(r_.at(i, k), error(i), sums_.data() + (k - first_) * lanes_, lanes_);
        }
      }
    }
    spread(inner, inner_end);
  }
}

void RowBlock::spread(int64_t from, int64_t to) {
  const int64_t rest = first_ + count_ - to;
  add_product_tn(1.0, {r_.data + from * r_.stride + to, to - from, rest, r_.stride},
                 {error(from), to - from, lanes_},
                 {sums_.data() + (to - first_) * lanes_, rest, lanes_});
}

// T_B = W_B + S_B R_BB^-1 by forward substitution, Q_B from the grid, then |S_B + E_B R_BB|^2 more
// loss; S are the sums.
void RowBlock::round_block(int64_t position) {
  const double* sums = sums_.data() + (position - first_) * lanes_;
  for (int64_t k = 0; k < width_; ++k) {
    double* target = target_.data() + k * lanes_;
    std::copy_n(sums + k * lanes_, lanes_, target);
    for (int64_t i = 0; i < k; ++i) {
      add_scaled(-r_.at(position + i, position + k), target_.data() + i * lanes_, target, lanes_);
    }
    const double pivot = r_.at(position + k, position + k);
    for (int64_t l = 0; l < lanes_; ++l) target[l] /= pivot;
  }
  for (int64_t k = 0; k < width_; ++k) {
    const int64_t col = factor_.order[static_cast<size_t>(position + k)];
    double* target = target_.data() + k * lanes_;
    for (size_t candidate = 0; candidate < grids_.size(); ++candidate) {
      double* lanes = target + lane(candidate, begin_);
      for (int64_t r = 0; r < rows_; ++r) lanes[r] += weight_.at(r, col);
    }
  }
  round_lanes(position, width_, target_);
  for (int64_t k = 0; k < width_; ++k) {
    double* product = target_.data() + k * lanes_;  // (E R) of this column
    std::copy_n(sums + k * lanes_, lanes_, product);
    for (int64_t i = 0; i <= k; ++i) {
      add_scaled(r_.at(position + i, position + k), error(position + i), product, lanes_);
    }
    for (int64_t l = 0; l < lanes_; ++l) {
      losses_[static_cast<size_t>(l)] += product[l] * product[l];
    }
  }
}

/// Codes and errors of `width` columns.  @param target [width, lanes].
void RowBlock::round_lanes(int64_t position, int64_t width, std::span<const double> target) {
  const int64_t col = factor_.order[static_cast<size_t>(position)];
  for (size_t candidate = 0; candidate < grids_.size(); ++candidate) {
    const int64_t offset = lane(candidate, begin_);
    for (int64_t k = 0; k < width; ++k) {
      const double* lanes = target.data() + k * lanes_ + offset;
      for (int64_t r = 0; r < rows_; ++r) {
        wanted_[static_cast<size_t>(r * width + k)] =
            static_cast<float>(std::clamp(lanes[r], -kMostTarget, kMostTarget));
      }
    }
    grids_[candidate]->round(col, begin_, {wanted_.data(), rows_, width},
                             {chosen_.data(), rows_, width}, {value_.data(), rows_, width});
    for (int64_t k = 0; k < width; ++k) {
      double* errors = error(position + k) + offset;
      uint16_t* codes = codes_.data() + (position + k) * lanes_ + offset;
      for (int64_t r = 0; r < rows_; ++r) {
        const size_t i = static_cast<size_t>(r * width + k);
        errors[r] = static_cast<double>(weight_.at(r, col + k)) - value_[i];
        codes[r] = chosen_[i];
      }
    }
  }
}

void RowBlock::round_as_they_are() {
  for (int64_t position = 0; position < weight_.cols; position += width_) {
    const int64_t col = factor_.order[static_cast<size_t>(position)];
    for (int64_t k = 0; k < width_; ++k) {
      for (int64_t l = 0; l < lanes_; ++l) {
        target_[static_cast<size_t>(k * lanes_ + l)] = weight_.at(l % rows_, col + k);
      }
    }
    round_lanes(position, width_, target_);
  }
}

bool RowBlock::greedy_pass(Matrix<const double> h) {
  const int64_t cols = weight_.cols;
  bool changed = false;
  std::vector<double> products(static_cast<size_t>(kPassBlock * lanes_));  // (E H) of a lazy block
  for (int64_t first = 0; first < cols; first += kPassBlock) {
    const int64_t count = std::min(kPassBlock, cols - first);
    std::fill(products.begin(), products.end(), 0.0);
    add_product(1.0, {h.data + first * h.stride, count, cols, h.stride},
                {errors_.data(), cols, lanes_}, {products.data(), count, lanes_});
    for (int64_t position = first; position < first + count; ++position) {
      const int64_t col = factor_.order[static_cast<size_t>(position)];
      const double curvature = h.at(position, position);
      const double* product = products.data() + (position - first) * lanes_;
      double* errors = error(position);
      uint16_t* codes = codes_.data() + position * lanes_;
      for (int64_t l = 0; l < lanes_; ++l) {
        target_[static_cast<size_t>(l)] =
            weight_.at(l % rows_, col) - errors[l] + product[l] / curvature;
      }
      // Moves of this column; most are 0 after some passes.
      std::vector<double> moves(static_cast<size_t>(lanes_));
      bool moved = false;
      for (size_t candidate = 0; candidate < grids_.size(); ++candidate) {
        const int64_t offset = lane(candidate, begin_);
        for (int64_t r = 0; r < rows_; ++r) {
          wanted_[static_cast<size_t>(r)] = static_cast<float>(
              std::clamp(target_[static_cast<size_t>(offset + r)], -kMostTarget, kMostTarget));
        }
        grids_[candidate]->round(col, begin_, {wanted_.data(), rows_, 1},
                                 {chosen_.data(), rows_, 1}, {value_.data(), rows_, 1});
        for (int64_t r = 0; r < rows_; ++r) {
          const size_t i = static_cast<size_t>(r);
          const int64_t l = offset + r;
          const double weight = weight_.at(r, col);
          const double best = target_[static_cast<size_t>(l)];
          const double next = weight - value_[i];
          if (chosen_[i] == codes[l] ||
              !(std::fabs(value_[i] - best) < std::fabs(weight - errors[l] - best))) {
            continue;
          }
          moves[static_cast<size_t>(l)] = next - errors[l];
          errors[l] = next;
          codes[l] = chosen_[i];
          moved = true;
        }
      }
      if (!moved) continue;
      changed = true;
      for (int64_t k = position; k < first + count; ++k) {
        add_scaled(h.at(position, k), moves.data(), products.data() + (k - first) * lanes_, lanes_);
      }
    }
  }
  return changed;
}

void RowBlock::measure_losses() {
  const int64_t cols = weight_.cols;
  std::fill(losses_.begin(), losses_.end(), 0.0);
  std::vector<double> products(static_cast<size_t>(kPassBlock * lanes_));
  for (int64_t first = 0; first < cols; first += kPassBlock) {
    const int64_t count = std::min(kPassBlock, cols - first);
    const int64_t known = first + count;  // R has zeros below
    std::fill(products.begin(), products.end(), 0.0);
    add_product_tn(1.0, {r_.data + first, known, count, r_.stride}, {errors_.data(), known, lanes_},
                   {products.data(), count, lanes_});
    for (int64_t k = 0; k < count; ++k) {
      const double* product = products.data() + k * lanes_;
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

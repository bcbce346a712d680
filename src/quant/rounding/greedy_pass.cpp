// RowBlock: greedy passes over single columns.
#include <algorithm>
#include <cmath>

#include "quant/rounding/row_block.h"
#include "tensor/linalg.h"

namespace twofold {
namespace {

/// What moved of each lane in a block of columns, in order.
class Moves {
 public:
  explicit Moves(int64_t lanes)
      : counts_(static_cast<size_t>(lanes)),
        positions_(static_cast<size_t>(lanes * kPassBlock)),
        moves_(positions_.size()) {}
  void clear() { std::fill(counts_.begin(), counts_.end(), size_t{0}); }
  void add(int64_t lane, int64_t position, double move) {
    const size_t at = first_of(lane) + counts_[static_cast<size_t>(lane)]++;
    positions_[at] = static_cast<int32_t>(position);
    moves_[at] = move;
  }
  std::span<const int32_t> positions(int64_t lane) const {
    return std::span(positions_).subspan(first_of(lane), counts_[static_cast<size_t>(lane)]);
  }
  std::span<const double> moves(int64_t lane) const {
    return std::span(moves_).subspan(first_of(lane), counts_[static_cast<size_t>(lane)]);
  }

 private:
  static size_t first_of(int64_t lane) { return static_cast<size_t>(lane * kPassBlock); }

  std::vector<size_t> counts_;      // [lanes]
  std::vector<int32_t> positions_;  // [lanes, kPassBlock]
  std::vector<double> moves_;       // [lanes, kPassBlock]
};

}  // namespace

/// @param h [cols, cols] in the order of the factor.
void RowBlock::find_slopes(Matrix<const double> h) {
  const int64_t cols = weight_.cols;
  slopes_.ensure(static_cast<size_t>(lanes_ * slope_stride_));
  AlignedBuffer<double> products(static_cast<size_t>(kPassBlock * stride_));
  for (int64_t first = 0; first < cols; first += kPassBlock) {
    const int64_t count = std::min(kPassBlock, cols - first);
    std::fill_n(products.data(), count * stride_, 0.0);
    add_product(part(h, first, 0, count, cols), lanes_of(error(0), cols),
                lanes_of(products.data(), count), isa_);
    for (int64_t l = 0; l < lanes_; ++l) {
      double* to = slope(l) + first;
      for (int64_t k = 0; k < count; ++k) to[k] = products[static_cast<size_t>(k * stride_ + l)];
    }
  }
  slopes_known_ = true;
  settled_.assign(static_cast<size_t>(lanes_), false);
}

/// Moves the entries of a column that have a better place; move(lane, change of the error).
/// @param run rows of one candidate.
template <class Move>
void RowBlock::move_entries(const Run& run, int64_t position, double curvature, const Move& move) {
  const int64_t offset = lane(run.candidate, begin_ + run.begin), rows = run.end - run.begin;
  const float* weight = weights(position) + run.begin;
  double* errors = error(position) + offset;
  uint16_t* codes = codes_.data() + position * lanes_ + offset;
  const double* slopes = slope(offset) + position;
  for (int64_t r = 0; r < rows; ++r) {
    const double best = weight[r] - errors[r] + slopes[r * slope_stride_] / curvature;
    target_[static_cast<size_t>(r)] = best;
    wanted_[static_cast<size_t>(r)] =
        static_cast<float>(std::clamp(best, -kMostTarget, kMostTarget));
  }
  grids_[run.candidate]->round(factor_.order[static_cast<size_t>(position)], begin_ + run.begin,
                               {wanted_.data(), rows, 1}, {chosen_.data(), rows, 1},
                               {value_.data(), rows, 1});
  for (int64_t r = 0; r < rows; ++r) {
    const size_t i = static_cast<size_t>(r);
    if (chosen_[i] == codes[r]) continue;
    const double best = target_[i];
    if (!(std::fabs(value_[i] - best) < std::fabs(weight[r] - errors[r] - best))) continue;
    const double next = static_cast<double>(weight[r]) - value_[i];
    const double change = next - errors[r];
    errors[r] = next;
    codes[r] = chosen_[i];
    move(offset + r, change);
  }
}

/// Rows of which something moved since they were looked at: others stay as they are.
std::vector<RowBlock::Run> RowBlock::unsettled() const {
  std::vector<Run> runs;
  for (size_t candidate = 0; candidate < grids_.size(); ++candidate) {
    for (int64_t begin = 0, end = 0; begin < rows_; begin = end) {
      const auto settled = [&](int64_t row) {
        return settled_[static_cast<size_t>(lane(candidate, begin_ + row))];
      };
      end = begin + 1;
      while (end < rows_ && settled(end) == settled(begin)) ++end;
      if (!settled(begin)) runs.push_back({candidate, begin, end});
    }
  }
  return runs;
}

bool RowBlock::greedy_pass(Matrix<const double> h) {
  const int64_t cols = weight_.cols;
  if (!slopes_known_) find_slopes(h);
  const std::vector<Run> runs = unsettled();
  settled_.assign(static_cast<size_t>(lanes_), true);
  bool changed = false;
  Moves moves(lanes_);
  for (int64_t first = 0; first < cols; first += kPassBlock) {
    const int64_t count = std::min(kPassBlock, cols - first), end = first + count;
    make_current(first, count);
    moves.clear();
    const Matrix<const double> here = part(h, 0, first, cols, count);
    for (int64_t position = first; position < end; ++position) {
      const auto row_of_h = static_cast<int32_t>(position);
      for (const Run& run : runs) {
        move_entries(run, position, h.at(position, position), [&](int64_t lane, double change) {
          moves.add(lane, position, change);
          add_rows(here, {&row_of_h, 1}, {&change, 1}, slope(lane) + first, isa_);
        });
      }
    }
    for (int64_t lane = 0; lane < lanes_; ++lane) {
      const auto positions = moves.positions(lane);
      if (positions.empty()) continue;
      changed = true;
      settled_[static_cast<size_t>(lane)] = false;
      add_rows(part(h, 0, 0, cols, first), positions, moves.moves(lane), slope(lane), isa_);
      add_rows(part(h, 0, end, cols, cols - end), positions, moves.moves(lane), slope(lane) + end,
               isa_);
    }
  }
  return changed;
}

}  // namespace twofold

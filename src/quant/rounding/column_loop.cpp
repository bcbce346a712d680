#include "quant/rounding/column_loop.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "base/error.h"
#include "quant/rounding/common.h"
#include "quant/row_chunks.h"
#include "tensor/linalg.h"

namespace twofold {
namespace {

/// Columns of a lazy block: the feedback of all earlier ones is added as one product.
constexpr int64_t kLazyBlock = 128;

/// For comparing: a loss that is not a number never wins.
double comparable(double loss) { return std::isnan(loss) ? INFINITY : loss; }

}  // namespace

ColumnLoop::ColumnLoop(const RoundingInput& input, FittedGrid& grid,
                       const ColumnLoopOptions& options, const Context& ctx)
    : input_(input),
      grid_(grid),
      options_(options),
      refits_(grid.refits() ? options.refits : 0),
      passes_(options.passes.value_or(grid.passes())),
      ctx_(ctx),
      weight_(input.weight) {
  check(options, grid.width());
}

void ColumnLoop::check(const ColumnLoopOptions& options, int64_t width) {
  if (options.preclamp && options.explore) {
    fail(ErrorCode::kInvalidArgument, "--preclamp on",
         "clamps weights to the range of one grid: use --explore weights or off");
  }
  if (width == 1) return;
  if (options.order == ColumnOrder::kDiagonal) {
    fail(ErrorCode::kInvalidArgument, "--order diagonal",
         "takes columns apart, but the grid rounds {} columns together", width);
  }
  if (options.preclamp) {
    fail(ErrorCode::kInvalidArgument, "--preclamp on",
         "clamps single weights, but the grid rounds {} columns together", width);
  }
}

RoundingResult ColumnLoop::run() {
  const int64_t group = grid_.group();
  fits_on_the_way_ = options_.feedback && !options_.groups_beforehand && group > 0 &&
                     group < weight_.cols && options_.order == ColumnOrder::kNatural;
  factor_ = input_.moment->factor(options_.order, grid_.width(), ctx_);
  if (!factor_->note.empty()) result_.notes.push_back(factor_->note);
  if (passes_ > 0) order_moment();
  if (refits_ > 0) damp_moment();
  importance_ = column_importance(input_, ctx_);
  result_.codes.resize(static_cast<size_t>(weight_.rows * weight_.cols));
  if (!fits_on_the_way_) fit_groups(grid_, weight_, importance_, ctx_.pool);
  if (options_.preclamp) clamp_weights();
  make_candidates();
  const bool rows_apart = others_.empty() || kRowChunk % grid_.rows_sharing() == 0;
  rows_apart && !fits_on_the_way_ ? run_together() : run_in_turn();
  if (refits_ > 0) refit_rows();
  return std::move(result_);
}

void ColumnLoop::clamp_weights() {
  clamped_.resize(static_cast<size_t>(weight_.rows * weight_.cols));
  const Matrix<float> clamped(clamped_.data(), weight_.rows, weight_.cols);
  for_row_chunks(ctx_.pool, weight_.rows, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const std::span<const float> row = weight_.row(r);
      std::copy(row.begin(), row.end(), clamped.row(r).begin());
    }
    for_groups(grid_, weight_.cols, [&](int64_t col, int64_t cols) {
      clamp_to_range(
          grid_, col, begin,
          {clamped.data + begin * clamped.stride + col, end - begin, cols, clamped.stride});
    });
  });
  weight_ = clamped;
}

void ColumnLoop::make_candidates() {
  if (!options_.explore) return;
  const std::span<const float> given = grid_.explore_factors();
  std::vector<float> factors(given.begin(), given.end());
  std::erase(factors, 1.0f);
  std::stable_sort(factors.begin(), factors.end(),
                   [](float a, float b) { return std::fabs(a - 1) < std::fabs(b - 1); });
  for (float factor : factors) others_.push_back(grid_.rescaled(factor));
}

void ColumnLoop::order_moment() {
  const Matrix<const double> h = input_.moment->h();
  h_ = h;
  if (options_.order == ColumnOrder::kNatural && factor_->added_damping == 0) return;
  const int64_t stride = product_stride(h.cols);
  ordered_h_.resize(static_cast<size_t>(h.rows * stride));
  const Matrix<double> ordered(ordered_h_.data(), h.rows, h.cols, stride);
  const std::vector<int64_t>& order = factor_->order;
  ctx_.pool.run(h.rows, [&](int64_t i, int /*worker*/) {
    for (int64_t j = 0; j < h.cols; ++j) {
      ordered.at(i, j) = h.at(order[static_cast<size_t>(i)], order[static_cast<size_t>(j)]);
    }
    ordered.at(i, i) += factor_->added_damping;
  });
  h_ = ordered;
}

void ColumnLoop::damp_moment() {
  stored_h_ = input_.moment->h();
  const double added = factor_->added_damping;
  if (added == 0) return;
  const int64_t n = stored_h_.cols;
  damped_h_.assign(stored_h_.data, stored_h_.data + n * n);
  for (int64_t j = 0; j < n; ++j) damped_h_[static_cast<size_t>(j * n + j)] += added;
  stored_h_ = {damped_h_.data(), n, n};
}

void ColumnLoop::round_block(RowBlock& block) {
  if (options_.feedback) {
    for (int64_t first = 0; first < weight_.cols;) {
      ctx_.check_cancelled();
      const int64_t count = block.whole_blocks(first, kLazyBlock);
      block.enter(first, count);
      block.round_with_feedback();
      first += count;
    }
  } else {
    block.round_as_they_are();
  }
  finish_block(block);
}

void ColumnLoop::finish_block(RowBlock& block) {
  const bool moved = refits_ == 0 && run_passes(block);
  const bool measured = options_.feedback && !moved;
  if (!measured && !others_.empty()) block.measure_losses();
}

bool ColumnLoop::run_passes(RowBlock& block) {
  bool changed = false;
  for (int64_t pass = 0; pass < passes_; ++pass) {
    ctx_.check_cancelled();
    if (!(grid_.width() == 1 ? block.greedy_pass(h_) : block.greedy_block_pass(h_))) break;
    changed = true;
  }
  return changed;
}

// Alternating, as LNQ does (arXiv:2505.07004): parameters for the codes, then codes for the
// parameters, on the moment of the loop. Neither adds to the loss of a row.
void ColumnLoop::refit_rows() {
  for_row_chunks(ctx_.pool, weight_.rows, [&](int64_t begin, int64_t end) {
    RowBlock block(weight_, *factor_, {&grid_}, begin, end, ctx_.isa);
    uint16_t* codes = result_.codes.data() + begin * weight_.cols;
    block.take_codes({codes, end - begin, weight_.cols});
    for (int64_t round = 0; round < refits_; ++round) {
      ctx_.check_cancelled();
      const bool refitted = block.refit(grid_, stored_h_);
      if (!run_passes(block) && !refitted) break;
    }
    for (int64_t r = begin; r < end; ++r) {
      block.copy_codes(0, r,
                       {codes + (r - begin) * weight_.cols, static_cast<size_t>(weight_.cols)});
    }
  });
}

// All candidates of a chunk of rows at once: their products share the factor.
void ColumnLoop::run_together() {
  const Clock::time_point start = Clock::now();
  std::vector<const FittedGrid*> grids = {&grid_};
  for (const auto& other : others_) grids.push_back(other.get());
  std::vector<size_t> chosen(static_cast<size_t>(weight_.rows));
  const int64_t sharing = others_.empty() ? 1 : grid_.rows_sharing();
  for_row_chunks(ctx_.pool, weight_.rows, [&](int64_t begin, int64_t end) {
    RowBlock block(weight_, *factor_, grids, begin, end, ctx_.isa);
    round_block(block);
    for (int64_t first = begin; first < end; first += sharing) {
      const int64_t last = std::min(first + sharing, end);
      size_t best = 0;
      double least = INFINITY;
      for (size_t candidate = 0; candidate < grids.size(); ++candidate) {
        double loss = 0;
        for (int64_t r = first; r < last; ++r) loss += block.loss(candidate, r);
        if (comparable(loss) < least) {
          least = loss;
          best = candidate;
        }
      }
      for (int64_t r = first; r < last; ++r) {
        chosen[static_cast<size_t>(r)] = best;
        block.copy_codes(
            best, r,
            std::span(result_.codes)
                .subspan(static_cast<size_t>(r * weight_.cols), static_cast<size_t>(weight_.cols)));
      }
    }
  });
  for (int64_t r = 0; r < weight_.rows; r += sharing) {
    const size_t best = chosen[static_cast<size_t>(r)];
    if (best > 0) grid_.take_row(r, *others_[best - 1]);
  }
  const double count = static_cast<double>(grids.size());
  result_.explore_seconds = seconds_since(start) * (count - 1) / count;
}

// One candidate after another, where a candidate is one only with the rows of other chunks: groups
// are fitted to all rows, or all rows share their parameters.
void ColumnLoop::run_in_turn() {
  const auto outcome_of = [&](FittedGrid& grid) {
    return fits_on_the_way_ ? run_fitting(grid) : run_fitted(grid);
  };
  Outcome first = outcome_of(grid_);
  std::vector<double> best = std::move(first.losses);
  result_.codes = std::move(first.codes);
  const Clock::time_point start = Clock::now();
  for (const auto& other : others_) keep_better(*other, outcome_of(*other), best);
  if (!others_.empty()) result_.explore_seconds = seconds_since(start);
}

ColumnLoop::Outcome ColumnLoop::run_fitted(const FittedGrid& grid) {
  Outcome outcome{.codes = std::vector<uint16_t>(result_.codes.size()),
                  .losses = std::vector<double>(static_cast<size_t>(weight_.rows))};
  for_row_chunks(ctx_.pool, weight_.rows, [&](int64_t begin, int64_t end) {
    RowBlock block(weight_, *factor_, {&grid}, begin, end, ctx_.isa);
    round_block(block);
    store(block, outcome);
  });
  return outcome;
}

// Group by group: all rows reach a group before the grid is fitted to it.
ColumnLoop::Outcome ColumnLoop::run_fitting(FittedGrid& grid) {
  std::vector<std::unique_ptr<RowBlock>> blocks;
  for (int64_t begin = 0; begin < weight_.rows; begin += kRowChunk) {
    const int64_t end = std::min(begin + kRowChunk, weight_.rows);
    blocks.push_back(std::make_unique<RowBlock>(
        weight_, *factor_, std::vector<const FittedGrid*>{&grid}, begin, end, ctx_.isa));
  }
  const auto for_blocks = [&](auto&& body) {
    ctx_.pool.run(static_cast<int64_t>(blocks.size()), [&](int64_t i, int /*worker*/) {
      ctx_.check_cancelled();
      body(*blocks[static_cast<size_t>(i)]);
    });
  };
  std::vector<float> compensated;
  for_groups(grid, weight_.cols, [&](int64_t col, int64_t cols) {
    compensated.resize(static_cast<size_t>(weight_.rows * cols));
    const Matrix<float> current(compensated.data(), weight_.rows, cols);
    for_blocks([&](RowBlock& block) {
      block.enter(col, cols);
      block.compensated_weights(
          0, {current.data + block.begin() * cols, block.end() - block.begin(), cols});
    });
    const std::span<const float> importance =
        importance_.empty() ? std::span<const float>()
                            : std::span<const float>(importance_)
                                  .subspan(static_cast<size_t>(col), static_cast<size_t>(cols));
    grid.fit(col, 0, current, importance, ctx_.pool);
    for_blocks([](RowBlock& block) { block.round_with_feedback(); });
  });
  Outcome outcome{.codes = std::vector<uint16_t>(result_.codes.size()),
                  .losses = std::vector<double>(static_cast<size_t>(weight_.rows))};
  for_blocks([&](RowBlock& block) {
    finish_block(block);
    store(block, outcome);
  });
  return outcome;
}

void ColumnLoop::store(const RowBlock& block, Outcome& outcome) const {
  for (int64_t r = block.begin(); r < block.end(); ++r) {
    outcome.losses[static_cast<size_t>(r)] = block.loss(0, r);
    block.copy_codes(
        0, r,
        std::span(outcome.codes)
            .subspan(static_cast<size_t>(r * weight_.cols), static_cast<size_t>(weight_.cols)));
  }
}

/// Takes over the rows in which `outcome` beats `best`, [rows] the least losses so far.
void ColumnLoop::keep_better(FittedGrid& candidate, const Outcome& outcome,
                             std::vector<double>& best) {
  const int64_t sharing = grid_.rows_sharing();
  for (int64_t first = 0; first < weight_.rows; first += sharing) {
    const int64_t last = std::min(first + sharing, weight_.rows);
    double loss = 0, least = 0;
    for (int64_t r = first; r < last; ++r) {
      loss += outcome.losses[static_cast<size_t>(r)];
      least += best[static_cast<size_t>(r)];
    }
    if (!(comparable(loss) < comparable(least))) continue;
    grid_.take_row(first, candidate);
    std::copy(outcome.losses.begin() + first, outcome.losses.begin() + last, best.begin() + first);
    std::copy(outcome.codes.begin() + first * weight_.cols,
              outcome.codes.begin() + last * weight_.cols,
              result_.codes.begin() + first * weight_.cols);
  }
}

}  // namespace twofold

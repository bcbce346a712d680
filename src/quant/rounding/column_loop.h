// ColumnLoop: fits a grid and rounds a whole matrix by LDLQ, greedy passes or both, for one grid or
// for several candidates of which each row keeps the one with the least true loss (re-exploring
// inside the loop). Rows are cut into fixed chunks, so results do not depend on threads.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "quant/rounding.h"
#include "quant/rounding/row_block.h"

namespace twofold {

struct ColumnLoopOptions {
  bool feedback = true;  // LDLQ; otherwise the start of the passes is nearest rounding
  ColumnOrder order = ColumnOrder::kNatural;
  bool groups_beforehand = false;  // groups are fitted to the original weights
  bool preclamp = false;           // weights are clamped to the range of the fitted grid first
  std::optional<int64_t> passes;   // greedy passes at most; if not set, those of the grid
  bool explore = false;            // all of the grid's explore_factors
  /// Rounds after the loop, each of a refit of the grid and the greedy passes, which then are not
  /// made before.
  int64_t refits = 0;
};

class ColumnLoop {
 public:
  /// @param width of the grid.
  /// @throws Error(kInvalidArgument) if a grid of several columns is to be rounded in an order or
  /// after a clamp that treat columns singly, or if candidates of several ranges are to be tried
  /// with weights clamped to one of them.
  static void check(const ColumnLoopOptions& options, int64_t width);

  /// @throws Error(kInvalidArgument) as `check`.
  ColumnLoop(const RoundingInput& input, FittedGrid& grid, const ColumnLoopOptions& options,
             const Context& ctx);
  RoundingResult run();

 private:
  /// Codes [rows, cols] and losses [rows] of one candidate.
  struct Outcome {
    std::vector<uint16_t> codes;
    std::vector<double> losses;
  };
  void clamp_weights();
  void make_candidates();
  void order_moment();
  void damp_moment();
  void run_together();
  void run_in_turn();
  Outcome run_fitted(const FittedGrid& grid);
  Outcome run_fitting(FittedGrid& grid);
  void round_block(RowBlock& block);
  void finish_block(RowBlock& block);
  bool run_passes(RowBlock& block);
  void refit_rows();
  void store(const RowBlock& block, Outcome& outcome) const;
  void keep_better(FittedGrid& candidate, const Outcome& outcome, std::vector<double>& best);

  const RoundingInput& input_;
  FittedGrid& grid_;
  ColumnLoopOptions options_;
  int64_t refits_;  // none if the grid has none
  int64_t passes_;  // after the loop, or in each round of refits
  const Context& ctx_;
  Matrix<const float> weight_;
  std::vector<float> clamped_;  // [rows, cols] what weight_ is with preclamp; else empty
  std::shared_ptr<const MomentFactor> factor_;
  std::vector<float> importance_;  // [cols] or empty
  std::vector<double> ordered_h_;  // [cols, stride] in the order of the factor; empty: as stored
  Matrix<const double> h_;         // H in the order of the factor
  std::vector<double>
      damped_h_;  // [cols, cols] as stored, with added damping; empty: nothing added
  Matrix<const double> stored_h_;                    // H in the order of stored columns
  bool fits_on_the_way_ = false;                     // groups, to compensated weights
  std::vector<std::unique_ptr<FittedGrid>> others_;  // candidates beside grid_, nearest to 1 first
  RoundingResult result_;
};

}  // namespace twofold

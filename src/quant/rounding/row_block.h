// RowBlock: a chunk of rows on its way through LDLQ and greedy passes, once for each of several
// candidate grids, as if those were more rows. Works on the calling thread and touches no other
// rows. Numbers of one column lie together: [columns, lanes] with lane = candidate * rows + row,
// and lanes that hold zeros up to a multiple of kProductCols.
//
// With H = R R^T (R upper triangular, columns in the order of the factor) and E = W - Q:
//   target    T_B = W_B + (E_<B R_<B,B) R_BB^-1     for a block B of `width` columns,
//   loss      e H e^T = sum over B of |(e R)_B|^2,  as e R is known once B is rounded.
// For width 1 this is LDLQ (arXiv:2307.13304, Sec. 3.1) with U = R diag(R)^-1 - I, and GPTQ.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu.h"
#include "quant/conditioned_moment.h"
#include "quant/grid.h"
#include "tensor/tensor.h"

namespace twofold {

/// Targets beyond this are cut off: with hardly any damping, feedback may exceed float32.
inline constexpr double kMostTarget = 1e30;

/// Columns of a block of a greedy pass: what moves in it changes E H there at once, elsewhere after
/// the block.
inline constexpr int64_t kPassBlock = 128;

/// `rows` x `cols` of m from (row, col) on.
inline Matrix<const double> part(Matrix<const double> m, int64_t row, int64_t col, int64_t rows,
                                 int64_t cols) {
  return {m.data + row * m.stride + col, rows, cols, m.stride};
}

class RowBlock {
 public:
  /// @param weight whole matrix, original weights [rows, cols].
  /// @param grids  fitted (those of `compensated_weights` up to the columns that are rounded), one
  /// width.  Rows [begin, end) of all of them are rounded.
  RowBlock(Matrix<const float> weight, const MomentFactor& factor,
           std::vector<const FittedGrid*> grids, int64_t begin, int64_t end, Isa isa);

  /// The most positions from `first` on, at most `count`, that are whole blocks of columns.
  int64_t whole_blocks(int64_t first, int64_t count) const;
  /// E_<G R_<G,G, [columns of G, lanes], for positions [first, first + count); they become the
  /// current columns. All earlier positions are rounded.
  void enter(int64_t first, int64_t count);
  /// W_G + (E_<G R_<G,G) R_GG^-1 of the current columns for one candidate: the weights as GPTQ has
  /// compensated them.  @param out [end - begin, count].
  void compensated_weights(size_t candidate, Matrix<float> out) const;
  /// Rounds the current columns, each block with the feedback of those before it.
  void round_with_feedback();
  /// Rounds all columns as they are.
  void round_as_they_are();
  /// Takes over the codes of the rows of the only candidate, in the order of stored columns.
  /// @param codes [end - begin, cols] chosen by the candidate.
  void take_codes(Matrix<const uint16_t> codes);

  /// Refits the parameters of all rows to their codes, one group of columns after the other, each
  /// with the errors of all others as they are then.
  /// @param grid the only candidate.  @param h [cols, cols] H in the order of stored columns.
  /// @return whether a parameter moved.
  bool refit(FittedGrid& grid, Matrix<const double> h);

  /// One greedy pass (arXiv:2307.13304, Sec. 4.2 and supplement B.2): each entry, in order, moves
  /// to the grid value at its best place given all others, if that is better. Grids of width 1.
  /// E H is kept from pass to pass and grows by the rows of H where an entry moved.
  /// @param h [cols, cols] H in the order of the factor.
  /// @return whether a code changed.
  bool greedy_pass(Matrix<const double> h);

  /// The same for grids of several columns, a block of columns of the rows that share parameters at
  /// a time: to what the grid makes of the best place of the block given all others, if that has
  /// less loss.
  bool greedy_block_pass(Matrix<const double> h);

  /// e H e^T of a row so far.
  double loss(size_t candidate, int64_t row) const;
  /// Computes the losses anew, from all errors.
  void measure_losses();
  /// Codes of a row in the order of stored columns.  @param codes [cols].
  void copy_codes(size_t candidate, int64_t row, std::span<uint16_t> codes) const;

  int64_t begin() const { return begin_; }
  int64_t end() const { return end_; }

 private:
  int64_t lane(size_t candidate, int64_t row) const {
    return static_cast<int64_t>(candidate) * rows_ + row - begin_;
  }
  double* error(int64_t position) { return errors_.data() + position * stride_; }
  double* sum(int64_t position) { return sums_.data() + (position - first_) * stride_; }
  /// Weights of a current column, [rows_].
  const float* weights(int64_t position) const {
    return weights_.data() + (position - first_) * rows_;
  }
  /// Columns of the block that begins at a position: the last of the matrix may be narrower.
  int64_t block_width(int64_t position) const {
    return std::min(width_, weight_.cols - factor_.order[static_cast<size_t>(position)]);
  }
  Matrix<double> lanes_of(double* first, int64_t columns) const {
    return {first, columns, stride_};
  }
  void make_current(int64_t first, int64_t count);
  /// Adds E_[from, to) R_[from, to),C to the sums of `count` current columns C from `position` on.
  void add_feedback(int64_t from, int64_t to, int64_t position, int64_t count);
  void round_block(int64_t position, int64_t width);
  void find_best_places(int64_t position, Matrix<const double> lower, const double* product);
  bool keep_better(int64_t position, int64_t width, Matrix<const double> h, const double* product);
  void round_lanes(int64_t position, int64_t width, Matrix<const double> lower);
  double* slope(int64_t lane) { return slopes_.data() + lane * slope_stride_; }
  void find_slopes(Matrix<const double> h);
  /// Rows [begin, end) of the block, of one candidate.
  struct Run {
    size_t candidate;
    int64_t begin, end;
  };
  std::vector<Run> unsettled() const;
  template <class Move>
  void move_entries(const Run& run, int64_t position, double curvature, const Move& move);

  Matrix<const float> weight_;  // [rows, cols] from row begin_ on
  const MomentFactor& factor_;
  Matrix<const double> lower_;  // R^T
  std::vector<const FittedGrid*> grids_;
  Isa isa_;
  int64_t begin_, end_, rows_, lanes_, stride_, width_;
  int64_t first_ = 0, count_ = 0;  // current columns
  std::vector<float> weights_;     // [count_, rows_]: the current columns
  AlignedBuffer<double> errors_;   // [cols, stride_]: E
  AlignedBuffer<double> sums_;     // [count_, stride_]: E R so far, of the current columns
  std::vector<uint16_t> codes_;    // [cols, lanes]
  std::vector<double> losses_;     // [lanes]
  // Of one block of columns, for `round`: [rows_, width_].
  std::vector<float> wanted_, value_;
  std::vector<uint16_t> chosen_;
  std::vector<double> target_;  // [width_, lanes]
  int64_t slope_stride_;
  bool slopes_known_ = false;
  AlignedBuffer<double> slopes_;  // [lanes, slope_stride_]: E H, of the first greedy pass on
  std::vector<bool> settled_;     // [lanes] nothing moved in the pass before
  // Of one block of columns in a greedy pass: errors and codes before, and what was added to them.
  std::vector<double> old_errors_, moves_;  // [width_, lanes]
  std::vector<uint16_t> old_codes_;         // [width_, lanes]
};

}  // namespace twofold

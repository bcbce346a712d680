// Grid: which values a weight may take. A grid is fitted to a matrix (per matrix, row or group) and
// then rounds blocks of `width` columns of a range of rows; roundings decide in which order and
// with which targets. Fitted parameters are rounded to their stored type before any weight is
// rounded.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/params.h"
#include "base/thread_pool.h"
#include "quant/quantized_matrix.h"
#include "tensor/tensor.h"

namespace twofold {

/// Codes of one group of columns, or of whole rows, and how the true loss e H e^T of each row
/// changes with their values: by m H m^T - 2 m slope^T where they move by m.
struct RefitProblem {
  int64_t col_begin = 0, row_begin = 0;
  Matrix<const uint16_t> codes;  // [rows, n]
  Matrix<const double> slope;    // [rows, n]: E H of these columns, E = W - Q all errors of a row
  Matrix<const double> h;        // [n, n] H of these columns
  Isa isa = Isa::kScalar;
};

class FittedGrid {
 public:
  virtual ~FittedGrid() = default;
  /// Columns that are rounded together: 1, or 8 and 16 for vector grids. Groups are multiples of
  /// it; the last columns of a matrix may be fewer.
  virtual int64_t width() const { return 1; }
  /// Columns per parameter group; 0 = the whole row.
  virtual int64_t group() const = 0;
  /// The scheme of the matrix that `finish` will return; known before `fit` from the request alone,
  /// but for level_exponent. File headers are written from it before any weight is rounded.
  virtual Scheme scheme() const = 0;

  /// Fits the parameters of columns [col_begin, col_begin + weight.cols), a whole row or one group,
  /// of rows [row_begin, row_begin + weight.rows): whole sets of `rows_sharing` rows.
  /// @param weight     [rows, n] current (perhaps compensated) weights of these columns, finite.
  /// @param importance [n] diagonal of the second moment, or empty for equal importance.
  /// Thread-safe for disjoint groups or rows.
  /// @throws Error(kUnsupported) naming a row of too large values.
  virtual void fit(int64_t col_begin, int64_t row_begin, Matrix<const float> weight,
                   std::span<const float> importance, ThreadPool& pool) = 0;

  /// Rounds columns [col, col + target.cols) of rows [row_begin, row_begin + target.rows): one or
  /// more whole blocks of `width` columns inside one group, where that of the last columns of the
  /// matrix is whole, and whole sets of `rows_sharing` rows. Thread-safe for disjoint rows.
  /// @param target [rows, n] wanted values, finite.
  /// @param codes  [rows, n] out.   @param value [rows, n] out: the values of the codes.
  virtual void round(int64_t col, int64_t row_begin, Matrix<const float> target,
                     Matrix<uint16_t> codes, Matrix<float> value) const = 0;

  /// The same for one block of `width` columns whose errors act together: the loss of the errors e
  /// of a row is |e R|^2. By default each column is rounded for itself.
  /// @param lower R^T, [n, n], zeros above its diagonal, which is positive.
  virtual void round_block(int64_t col, int64_t row_begin, Matrix<const float> target,
                           Matrix<const double> /*lower*/, Matrix<uint16_t> codes,
                           Matrix<float> value) const {
    round(col, row_begin, target, codes, value);
  }

  /// The values of codes that `round` chose for columns [col, col + codes.cols), inside one group.
  /// @param value [rows, n] out.
  virtual void values(int64_t col, int64_t row_begin, Matrix<const uint16_t> codes,
                      Matrix<float> value) const = 0;

  /// Whether `refit` moves parameters.
  virtual bool refits() const { return false; }
  /// Moves the parameters of the codes to where the true loss is least with these codes, as far as
  /// their stored type allows; those of a row whose loss would not fall stay. Thread-safe for
  /// disjoint rows.
  /// @param value [rows, n] out: the values of the codes with the new parameters.
  /// @return whether any parameter moved.
  virtual bool refit(const RefitProblem& /*problem*/, Matrix<float> /*value*/) { return false; }

  /// Factors on the fitted scale that are worth trying with the true loss, in increasing order and
  /// with 1 among them (re-exploring inside the loop). One entry: nothing to explore.
  virtual std::span<const float> explore_factors() const = 0;
  /// Greedy passes after the loop that the grid asks for, where the caller names no number.
  virtual int64_t passes() const { return 0; }
  /// Rows [k n, (k + 1) n) share parameters: 1, or all rows if there is one set for the matrix.
  virtual int64_t rows_sharing() const = 0;
  /// A copy whose scales and offsets are `factor` times as large, those fitted later too, each
  /// rounded to its stored type.
  virtual std::unique_ptr<FittedGrid> rescaled(float factor) const = 0;
  /// Takes over the parameters of `row` and of those sharing them. @param from made by `rescaled`
  /// from this grid.
  virtual void take_row(int64_t row, const FittedGrid& from) = 0;

  /// The quantized matrix for codes [rows, cols] chosen by `round`.
  virtual QuantizedMatrix finish(std::vector<uint16_t> codes) && = 0;
};

/// Clamps weights to what a fitted grid of width 1 can give their rows: QuIP's clamp before the
/// loop (arXiv:2307.13304, Algorithm 1, step 7).
/// @param weight [rows, n] columns [col, col + n), inside one group, of rows [row_begin, ...).
void clamp_to_range(const FittedGrid& grid, int64_t col, int64_t row_begin, Matrix<float> weight);

struct GridRequest {
  int64_t rows = 0, cols = 0;
  int bits = 4;
  int64_t group = 0;       // 0 = whole row
  Params params;           // complete for Grid::params
  std::string where;       // named by errors: the matrix
  Isa isa = Isa::kScalar;  // of its loops; results are the same
};

/// One entry of the registry.
struct Grid {
  std::string_view name, paper, help;
  std::vector<ParamSpec> params;
  int min_bits, max_bits;
  bool groups;  // supports groups
  /// Bits that the settings ask for (an integer range does); 0 if they leave the bits open.
  int (*needed_bits)(const Params& params);
  /// Checks bits, group and settings against each other; the shape may still be unknown (0).
  /// @throws Error(kInvalidArgument) if they do not go together.
  void (*check)(const GridRequest& request);
  /// @throws Error(kInvalidArgument) as `check`.
  std::unique_ptr<FittedGrid> (*make)(const GridRequest& request);
  int64_t width = 1;  // FittedGrid::width of what `make` returns
  /// Why `fit` does not look at importance; empty if it does. Null: it always does.
  std::string (*importance_unread)(const Params& params) = nullptr;
  /// Why FittedGrid::refits says no; empty if it says yes. Null: it always says no.
  std::string (*refit_unread)(const Params& params) = nullptr;
};

std::span<const Grid> all_grids();
/// @throws Error(kInvalidArgument) listing the names.
const Grid& find_grid(std::string_view name);

}  // namespace twofold

// TableRefit: the table of a row that has the least true loss with the row's codes (LNQ, Kim et
// al., arXiv:2505.07004, Sec. 4), c = (P^T H P)^-1 P^T H w with P [n, codes] telling who has which
// code, rounded to what is stored. Works on the calling thread.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/grids/row_table.h"

namespace twofold {

class TableRefit {
 public:
  explicit TableRefit(int bits);
  /// Rows to assign at a time: they read each tile of H while it is in the cache.
  int64_t batch() const { return batch_; }
  /// Adds up P^T H P and P^T slope of rows [begin, end) of the problem, at most `batch`.
  void assign(const RefitProblem& problem, int64_t begin, int64_t end);
  /// The best table found for row r of those assigned. Levels without a weight stay where they
  /// are, as near as they can be stored.
  StoredTable solve(int64_t row, const StoredTable& table);

 private:
  double* square(int64_t row) { return squares_.data() + (row - begin_) * levels_ * levels_; }
  void sort_columns(const RefitProblem& problem, int64_t row);
  void add_tile(const RefitProblem& problem, int64_t row, int64_t col, int64_t cols);
  void add_transposed(int64_t row);
  bool find_best_values(const double* m, const double* slope, const StoredTable& table);
  double round_levels(const double* m, StoredTable& table) const;

  int64_t levels_, batch_, begin_ = 0;
  std::vector<double> squares_;   // [batch, levels, levels]: P^T H P
  std::vector<double> slopes_;    // [batch, levels]: P^T slope
  std::vector<int32_t> columns_;  // [batch, n]: columns by their code, those of a code in order
  std::vector<int64_t> next_;     // [batch, levels]: where the columns from the tile on begin
  std::vector<int64_t> ends_;     // [batch, levels]: and where those of a code end
  std::vector<double> factors_;   // [tile + n]: halves for a tile, then ones
  std::vector<double> tile_;      // [n, tile]: of H, as its rows lie a multiple of 1 KB apart
  std::vector<double> sums_;      // [levels, tile]: P^T H of a tile of columns
  std::vector<double> turned_;    // [tile, levels]: the same, transposed
  std::vector<double> best_;      // [levels]: the values of least loss
  std::vector<double> factor_;    // [levels, levels]
};

}  // namespace twofold

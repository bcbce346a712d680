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
  /// Rows to assign at a time, such that their sums stay in the cache.
  int64_t batch() const { return batch_; }
  /// Adds up P^T H P and P^T slope of rows [begin, end) of the problem, at most `batch`.
  void assign(const RefitProblem& problem, int64_t begin, int64_t end);
  /// The best table found for row r of those assigned. Levels without a weight stay where they
  /// are, as near as they can be stored.
  StoredTable solve(int64_t row, const StoredTable& table);

 private:
  double* square(int64_t row) { return squares_.data() + (row - begin_) * levels_ * levels_; }
  void add_tile(const RefitProblem& problem, int64_t row_end, int64_t col, int64_t cols);
  bool find_best_values(const double* m, const double* slope, const StoredTable& table);
  double round_levels(const double* m, StoredTable& table) const;

  int64_t levels_, batch_, begin_ = 0;
  std::vector<double> squares_;  // [batch, levels, levels]: P^T H P
  std::vector<double> slopes_;   // [batch, levels]: P^T slope
  std::vector<double> sums_;     // [batch, levels, tile]: P^T H of a tile of columns
  std::vector<double> best_;     // [levels]: the values of least loss
  std::vector<double> factor_;   // [levels, levels]
};

}  // namespace twofold

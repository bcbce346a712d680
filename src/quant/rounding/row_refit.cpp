// RowBlock: codes from elsewhere, and refits of the grid to codes.
#include <algorithm>

#include "base/error.h"
#include "quant/rounding/common.h"
#include "quant/rounding/row_block.h"
#include "tensor/linalg.h"

namespace twofold {

void RowBlock::take_codes(Matrix<const uint16_t> codes) {
  TWOFOLD_ASSERT(grids_.size() == 1);
  slopes_known_ = false;
  const int64_t cols = weight_.cols;
  std::vector<float> value(static_cast<size_t>(rows_ * cols));
  for_groups(*grids_.front(), cols, [&](int64_t col, int64_t count) {
    grids_.front()->values(col, begin_, {codes.data + col, rows_, count, codes.stride},
                           {value.data() + col, rows_, count, cols});
  });
  for (int64_t position = 0; position < cols; ++position) {
    const int64_t col = factor_.order[static_cast<size_t>(position)];
    for (int64_t r = 0; r < rows_; ++r) {
      error(position)[r] =
          static_cast<double>(weight_.at(r, col)) - value[static_cast<size_t>(r * cols + col)];
      codes_[static_cast<size_t>(position * lanes_ + r)] = codes.at(r, col);
    }
  }
}

bool RowBlock::refit(FittedGrid& grid, Matrix<const double> h) {
  TWOFOLD_ASSERT(grids_.size() == 1 && grids_.front() == &grid);
  const int64_t cols = weight_.cols, stride = product_stride(cols);
  std::vector<uint16_t> codes(static_cast<size_t>(rows_ * cols));
  std::vector<double> errors(static_cast<size_t>(rows_ * stride));  // [rows, stride]: E
  const auto column = [&](int64_t position) {
    return factor_.order[static_cast<size_t>(position)];
  };
  for (int64_t position = 0; position < cols; ++position) {
    for (int64_t r = 0; r < rows_; ++r) {
      errors[static_cast<size_t>(r * stride + column(position))] = error(position)[r];
    }
  }
  for (int64_t r = 0; r < rows_; ++r) {
    copy_codes(0, begin_ + r,
               std::span(codes).subspan(static_cast<size_t>(r * cols), static_cast<size_t>(cols)));
  }
  bool moved = false;
  for_groups(grid, cols, [&](int64_t col, int64_t count) {
    std::vector<double> slope(static_cast<size_t>(rows_ * count));
    if (slopes_known_ && count == cols) {
      for (int64_t r = 0; r < rows_; ++r) {
        const double* known = this->slope(r);
        for (int64_t position = 0; position < cols; ++position) {
          slope[static_cast<size_t>(r * cols + column(position))] = known[position];
        }
      }
    } else {
      add_product({errors.data(), rows_, cols, stride}, {h.data + col, cols, count, h.stride},
                  {slope.data(), rows_, count}, isa_);
    }
    std::vector<float> value(slope.size());
    const RefitProblem problem{.col_begin = col,
                               .row_begin = begin_,
                               .codes = {codes.data() + col, rows_, count, cols},
                               .slope = {slope.data(), rows_, count},
                               .h = {h.data + col * h.stride + col, count, count, h.stride},
                               .isa = isa_};
    if (!grid.refit(problem, {value.data(), rows_, count})) return;
    moved = true;
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < count; ++c) {
        errors[static_cast<size_t>(r * stride + col + c)] =
            static_cast<double>(weight_.at(r, col + c)) - value[static_cast<size_t>(r * count + c)];
      }
    }
  });
  for (int64_t position = 0; position < cols; ++position) {
    for (int64_t r = 0; r < rows_; ++r) {
      error(position)[r] = errors[static_cast<size_t>(r * stride + column(position))];
    }
  }
  if (moved) slopes_known_ = false;
  return moved;
}

}  // namespace twofold

// Everything is cut into products of a few rows, read in place, with a panel: [k, N] numbers, N the
// width of the register tiles (simd/gemm_body.h) of the instruction set.
#include "tensor/linalg.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "base/error.h"
#include "tensor/simd/select.h"

namespace twofold {
namespace {

/// Columns of A of one step: a panel of as many rows stays in the first-level cache.
constexpr int64_t kDepth = 256;
/// Panels of so few rows are read where they lie.
constexpr int64_t kShallow = 32;
/// Rows of H that are factored at a time, a multiple of every tile's width.
constexpr int64_t kBlock = 64;
/// Rows and columns of H that one item of work updates or reads.
constexpr int64_t kItemRows = 128, kItemCols = 256;
static_assert(kBlock % kMaxTileCols64 == 0 && kProductCols == kMaxTileCols64);

/// `rows` x `cols` of m from (row, col) on.
template <class T>
Matrix<T> part(Matrix<T> m, int64_t row, int64_t col, int64_t rows, int64_t cols) {
  return {m.data + row * m.stride + col, rows, cols, m.stride};
}

size_t count_of(int64_t numbers) { return static_cast<size_t>(numbers); }

/// Rows of A as tiles can read them, in `copy` if they are a multiple of 1 KB apart.
Matrix<const double> readable_rows(Matrix<const double> a, AlignedBuffer<double>& copy) {
  if (a.stride % 128 != 0 || a.rows <= 4) return a;
  const int64_t stride = product_stride(a.cols);
  copy.ensure(count_of(a.rows * stride));
  for (int64_t r = 0; r < a.rows; ++r) {
    std::copy_n(a.data + r * a.stride, a.cols, copy.data() + r * stride);
  }
  return {copy.data(), a.rows, a.cols, stride};
}

/// C (+)= A P.  @param a [m, k].  @param panel [k, N].  @param c [m, N or fewer].
void multiply_panel(const GemmTiles64& tiles, Matrix<const double> a, const double* panel,
                    int64_t panel_stride, Matrix<double> c, bool accumulate) {
  alignas(64) std::array<double, kMaxTileRows * kMaxTileCols64> edge;
  const int64_t blocks = ceil_div(a.rows, tiles.rows);
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = a.rows * block / blocks;
    const int64_t rows = a.rows * (block + 1) / blocks - begin;
    const double* left = a.data + begin * a.stride;
    double* out = c.data + begin * c.stride;
    if (c.cols == tiles.cols) {
      tiles.tile[rows](left, a.stride, panel, panel_stride, a.cols, out, c.stride, accumulate);
      continue;
    }
    tiles.tile[rows](left, a.stride, panel, panel_stride, a.cols, edge.data(), tiles.cols, false);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < c.cols; ++j) {
        double& slot = out[r * c.stride + j];
        const double sum = edge[count_of(r * tiles.cols + j)];
        slot = accumulate ? slot + sum : sum;
      }
    }
  }
}

/// panel [b.rows, N] = b [b.rows, N or fewer], filled up with zeros.
void copy_panel(Matrix<const double> b, int64_t width, double* panel) {
  constexpr int64_t kStep = 4;  // divides the width of every tile
  static_assert(kMaxTileCols64 % kStep == 0);
  for (int64_t k = 0; k < b.rows; ++k) {
    const double* from = b.data + k * b.stride;
    double* to = panel + k * width;
    if (b.cols == width) {
      for (int64_t j = 0; j < width; j += kStep)
        __builtin_memcpy(to + j, from + j, kStep * sizeof(double));
    } else {
      std::fill(std::copy_n(from, b.cols, to), to + width, 0.0);
    }
  }
}

/// X := L^-1 X for panels of columns; Y = -X.
/// @param l [n, n].  @param x, y [panels][n, N].
void solve_panels(const GemmTiles64& tiles, Matrix<const double> l, int64_t panels, double* x,
                  double* y) {
  const int64_t n = l.rows, width = tiles.cols;
  for (int64_t begin = 0; begin < n; begin += tiles.rows) {
    const int64_t end = std::min(begin + tiles.rows, n);
    for (int64_t panel = 0; panel < panels; ++panel) {
      double* solved = x + panel * n * width;
      double* negated = y + panel * n * width;
      if (begin > 0) {
        tiles.tile[end - begin](l.data + begin * l.stride, l.stride, negated, width, begin,
                                solved + begin * width, width, true);
      }
      for (int64_t i = begin; i < end; ++i) {
        double* row = solved + i * width;
        if (i > begin) {
          tiles.tile[1](l.data + i * l.stride + begin, l.stride, negated + begin * width, width,
                        i - begin, row, width, true);
        }
        const double pivot = l.at(i, i);
        for (int64_t j = 0; j < width; ++j) {
          row[j] /= pivot;
          negated[i * width + j] = -row[j];
        }
      }
    }
  }
}

/// The factor of one block, row by row from the last.
bool factor_block(Matrix<double> h) {
  for (int64_t j = h.rows - 1; j >= 0; --j) {
    double* last = h.data + j * h.stride;
    if (!(last[j] > 0) || !std::isfinite(last[j])) return false;
    last[j] = std::sqrt(last[j]);
    for (int64_t i = 0; i < j; ++i) last[i] /= last[j];
    for (int64_t i = 0; i < j; ++i) {
      double* row = h.data + i * h.stride;
      for (int64_t k = 0; k <= i; ++k) row[k] -= last[i] * last[k];
    }
  }
  return true;
}

/// A block of rows of L, left of the diagonal, as the update of what is above needs it. Its rows
/// are kept in reversed order, in which solving for them goes forward.
struct RowPanel {
  AlignedBuffer<double> left;   // [columns, kLeftStride]: transposed
  AlignedBuffer<double> right;  // [columns / N][kBlock, N]: times -1
  static constexpr int64_t kLeftStride = kBlock + 8;

  explicit RowPanel(int64_t cols)
      : left(count_of(cols * kLeftStride)), right(count_of(cols * kBlock)) {}
};

/// beside := L_BB^-T beside for kBlock columns from `col` on, kept in `panel` as well.
/// @param flipped [side, side] the transposed diagonal block L_BB, both axes reversed.
/// @param beside [side, begin] the rows of the block, left of it.
void solve_beside(const GemmTiles64& tiles, Matrix<const double> flipped, Matrix<double> beside,
                  int64_t col, RowPanel& panel) {
  const int64_t side = beside.rows, width = tiles.cols;
  alignas(64) std::array<double, kBlock * kBlock> solved;  // [kBlock / N][side, N]
  double* negated = panel.right.data() + col * side;
  for (int64_t k = 0; k < side; ++k) {
    const double* row = beside.data + (side - 1 - k) * beside.stride + col;
    for (int64_t j = 0; j < kBlock; j += width) {
      std::copy_n(row + j, width, solved.data() + j * side + k * width);
    }
  }
  solve_panels(tiles, flipped, kBlock / width, solved.data(), negated);
  for (int64_t k = 0; k < side; ++k) {
    double* row = beside.data + (side - 1 - k) * beside.stride + col;
    for (int64_t j = 0; j < kBlock; j += width) {
      std::copy_n(solved.data() + j * side + k * width, width, row + j);
    }
  }
  for (int64_t j = 0; j < kBlock; ++j) {
    const double* column = solved.data() + j / width * width * side + j % width;
    double* to = panel.left.data() + (col + j) * RowPanel::kLeftStride;
    for (int64_t k = 0; k < side; ++k) to[k] = column[k * width];
  }
}

/// H -= L_B^T L_B on and below the diagonal, some above it as well.
/// @param h [begin, begin].  @param side rows of the block B.
void subtract_square(const GemmTiles64& tiles, Matrix<double> h, int64_t side,
                     const RowPanel& panel, ThreadPool& pool) {
  struct Item {
    int64_t row, col;
  };
  std::vector<Item> items;
  for (int64_t row = 0; row < h.rows; row += kItemRows) {
    const int64_t end = std::min(row + kItemRows, h.rows);
    for (int64_t col = 0; col < end; col += kItemCols) items.push_back({row, col});
  }
  pool.run(static_cast<int64_t>(items.size()), [&](int64_t i, int /*worker*/) {
    const Item item = items[count_of(i)];
    const int64_t row_end = std::min(item.row + kItemRows, h.rows);
    const int64_t col_end = std::min(item.col + kItemCols, row_end);
    for (int64_t col = item.col; col < col_end; col += tiles.cols) {
      const int64_t row = std::max(item.row, col);
      const Matrix<const double> left(panel.left.data() + row * RowPanel::kLeftStride,
                                      row_end - row, side, RowPanel::kLeftStride);
      multiply_panel(tiles, left, panel.right.data() + col * side, tiles.cols,
                     part(h, row, col, row_end - row, tiles.cols), true);
    }
  });
}

}  // namespace

int64_t product_stride(int64_t cols) { return round_up(cols, 16) + 8; }

void add_product(Matrix<const double> a, Matrix<const double> b, Matrix<double> c, Isa isa) {
  TWOFOLD_ASSERT(a.cols == b.rows && c.rows == a.rows && c.cols == b.cols);
  if (c.rows == 0 || c.cols == 0 || a.cols == 0) return;
  const GemmTiles64& tiles = gemm_tiles64(isa);
  AlignedBuffer<double> copy;
  alignas(64) std::array<double, kDepth * kMaxTileCols64> packed;
  const int64_t steps = ceil_div(a.cols, kDepth);
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t begin = a.cols * step / steps;
    const int64_t depth = a.cols * (step + 1) / steps - begin;
    const Matrix<const double> left = readable_rows(part(a, 0, begin, a.rows, depth), copy);
    for (int64_t col = 0; col < c.cols; col += tiles.cols) {
      const int64_t width = std::min(tiles.cols, c.cols - col);
      const Matrix<const double> panel = part(b, begin, col, depth, width);
      const Matrix<double> out = part(c, 0, col, c.rows, width);
      if (width == tiles.cols && (depth <= kShallow || a.rows <= tiles.rows)) {
        multiply_panel(tiles, left, panel.data, panel.stride, out, true);
        continue;
      }
      copy_panel(panel, tiles.cols, packed.data());
      multiply_panel(tiles, left, packed.data(), tiles.cols, out, true);
    }
  }
}

void add_rows(Matrix<const double> b, std::span<const int32_t> rows,
              std::span<const double> factors, double* y, Isa isa) {
  TWOFOLD_ASSERT(rows.size() == factors.size());
  gemm_tiles64(isa).add_rows(b.data, b.stride, rows.data(), factors.data(), std::ssize(rows), y,
                             b.cols);
}

void solve_lower(Matrix<const double> l, Matrix<double> x, Isa isa) {
  TWOFOLD_ASSERT(l.rows == l.cols && l.rows == x.rows);
  const GemmTiles64& tiles = gemm_tiles64(isa);
  const int64_t n = x.rows, panels = ceil_div(x.cols, tiles.cols);
  AlignedBuffer<double> solved(count_of(panels * n * tiles.cols)), negated(solved.size());
  for (int64_t col = 0; col < x.cols; col += tiles.cols) {
    copy_panel(part(x, 0, col, n, std::min(tiles.cols, x.cols - col)), tiles.cols,
               solved.data() + col * n);
  }
  solve_panels(tiles, l, panels, solved.data(), negated.data());
  for (int64_t col = 0; col < x.cols; col += tiles.cols) {
    const int64_t width = std::min(tiles.cols, x.cols - col);
    for (int64_t i = 0; i < n; ++i) {
      std::copy_n(solved.data() + col * n + i * tiles.cols, width, x.data + i * x.stride + col);
    }
  }
}

// Blocks of rows from the last to the first: the diagonal block is factored, what is left of it
// solved for, and the square of that subtracted from all that is above.
bool reversed_cholesky(Matrix<double> h, ThreadPool& pool, Isa isa) {
  TWOFOLD_ASSERT(h.rows == h.cols);
  const GemmTiles64& tiles = gemm_tiles64(isa);
  const int64_t n = h.rows;
  RowPanel panel(n);
  std::array<double, kBlock * RowPanel::kLeftStride> block;
  for (int64_t begin = (ceil_div(n, kBlock) - 1) * kBlock; begin >= 0; begin -= kBlock) {
    const int64_t side = std::min(kBlock, n - begin);
    const Matrix<double> corner = part(h, begin, begin, side, side);
    if (!factor_block(corner)) return false;
    const Matrix<double> flipped(block.data(), side, side, RowPanel::kLeftStride);
    for (int64_t i = 0; i < side; ++i) {
      for (int64_t k = 0; k <= i; ++k) flipped.at(i, k) = corner.at(side - 1 - k, side - 1 - i);
    }
    pool.run(begin / kBlock, [&](int64_t item, int /*worker*/) {
      solve_beside(tiles, flipped, part(h, begin, 0, side, begin), item * kBlock, panel);
    });
    subtract_square(tiles, part(h, 0, 0, begin, begin), side, panel, pool);
  }
  for (int64_t r = 0; r < n; ++r) std::fill_n(h.data + r * h.stride + r + 1, n - r - 1, 0.0);
  return true;
}

// H^-1 = L^-1 L^-T, so its diagonal holds the squared lengths of the rows of L^-1, whose columns
// are solved for in chunks.
std::vector<double> inverse_diagonal(Matrix<const double> l, ThreadPool& pool, Isa isa) {
  const GemmTiles64& tiles = gemm_tiles64(isa);
  const int64_t n = l.rows, chunks = ceil_div(n, kBlock), width = tiles.cols;
  std::vector<std::vector<double>> sums(count_of(chunks));
  pool.run(chunks, [&](int64_t chunk, int /*worker*/) {
    const int64_t begin = chunk * kBlock, rows = n - begin;  // L^-1 is 0 above row `begin`
    const int64_t cols = std::min(kBlock, rows), panels = ceil_div(cols, width);
    AlignedBuffer<double> x(count_of(panels * rows * width)), y(x.size());
    std::fill_n(x.data(), x.size(), 0.0);
    for (int64_t j = 0; j < cols; ++j) {
      x[count_of(j / width * rows * width + j * width + j % width)] = 1;
    }
    solve_panels(tiles, part(l, begin, begin, rows, rows), panels, x.data(), y.data());
    std::vector<double>& sum = sums[count_of(chunk)];
    sum.resize(count_of(rows));
    for (int64_t panel = 0; panel < panels; ++panel) {
      const double* row = x.data() + panel * rows * width;
      for (double& total : sum) {
        for (int64_t j = 0; j < width; ++j) total += row[j] * row[j];
        row += width;
      }
    }
  });
  std::vector<double> diagonal(count_of(n));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const std::vector<double>& sum = sums[count_of(chunk)];
    for (size_t j = 0; j < sum.size(); ++j) diagonal[count_of(chunk * kBlock) + j] += sum[j];
  }
  return diagonal;
}

// By rows of blocks of H times the transposed X: what is left of the diagonal block counts twice,
// as H is symmetric.
std::vector<double> quadratic_forms(Matrix<const double> x, Matrix<const double> h, Isa isa) {
  TWOFOLD_ASSERT(h.rows == x.cols && h.cols == x.cols);
  const GemmTiles64& tiles = gemm_tiles64(isa);
  const int64_t n = x.cols, width = tiles.cols, panels = ceil_div(x.rows, width);
  AlignedBuffer<double> columns(count_of(panels * n * width));  // [panels][n, N] of X^T
  std::fill_n(columns.data(), columns.size(), 0.0);
  for (int64_t r = 0; r < x.rows; ++r) {
    double* to = columns.data() + r / width * n * width + r % width;
    for (int64_t j = 0; j < n; ++j) to[j * width] = x.at(r, j);
  }
  AlignedBuffer<double> copy, products(count_of(panels * kItemRows * width));
  // products [panels][kItemRows, N] (+)= rows [row, row + rows) and columns [from, to) of H.
  const auto multiply = [&](int64_t row, int64_t rows, int64_t from, int64_t to) {
    const int64_t steps = ceil_div(to - from, kDepth);
    for (int64_t step = 0; step < steps; ++step) {
      const int64_t begin = from + (to - from) * step / steps;
      const int64_t depth = from + (to - from) * (step + 1) / steps - begin;
      const Matrix<const double> left = readable_rows(part(h, row, begin, rows, depth), copy);
      for (int64_t panel = 0; panel < panels; ++panel) {
        multiply_panel(tiles, left, columns.data() + (panel * n + begin) * width, width,
                       {products.data() + panel * kItemRows * width, rows, width}, begin > 0);
      }
    }
  };
  std::vector<double> forms(count_of(panels * width));
  for (int64_t row = 0; row < n; row += kItemRows) {
    const int64_t rows = std::min(kItemRows, n - row);
    multiply(row, rows, 0, row);
    if (row > 0) {
      for (double& product : products.span()) product *= 2;
    }
    multiply(row, rows, row, row + rows);
    for (int64_t panel = 0; panel < panels; ++panel) {
      const double* product = products.data() + panel * kItemRows * width;
      const double* column = columns.data() + (panel * n + row) * width;
      for (int64_t i = 0; i < rows * width; ++i) {
        forms[count_of(panel * width + i % width)] += product[i] * column[i];
      }
    }
  }
  forms.resize(count_of(x.rows));
  return forms;
}

}  // namespace twofold

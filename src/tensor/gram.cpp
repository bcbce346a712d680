// How the product is cut. Columns of x are divided into blocks I; from the start of each, the
// columns up to the last are divided into wider blocks J; an item is a pair (I, J). An item walks
// over the tokens in steps of kDepth: it transposes the columns of I into rows, copies those of J
// into panels as wide as a tile, a panel at a time, and lets the tiles of the float GEMM
// (simd/gemm_body.h) add their products to sums [I, J] in the second-level cache. Tiles wholly
// below the diagonal are left out. All sizes follow from shapes and instruction set.
#include "tensor/gram.h"

#include <algorithm>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "base/error.h"
#include "tensor/simd/select.h"

namespace twofold {
namespace {

constexpr int64_t kDepth = 256;  // tokens of one step
// Columns of I and of J, multiples of the tiles' sides: the more of J, the rarer is transposing;
// the sums of an item and the transposed numbers of a step must stay in the second-level cache.
constexpr int64_t kBlockRows = 224;
constexpr int64_t kBlockCols = 448;
// Rows of transposed numbers, an odd number of cache lines apart.
constexpr int64_t kLeftStride = kDepth + 16;

struct Item {
  int64_t i, j;  // first columns of the blocks
};

struct Scratch {
  AlignedBuffer<float> left;   // [kBlockRows, kLeftStride] transposed columns of I
  AlignedBuffer<float> panel;  // [kDepth, tile width] some columns of J
  AlignedBuffer<float> sums;   // [kBlockRows, kBlockCols]
};

// Items from the most work to the least.
std::vector<Item> items_of(int64_t n) {
  std::vector<Item> items;
  for (int64_t i = 0; i < n; i += kBlockRows) {
    for (int64_t j = i; j < n; j += kBlockCols) items.push_back({i, j});
  }
  const auto work = [n](const Item& item) {
    const int64_t height = std::min(kBlockRows, n - item.i);
    const int64_t area = height * std::min(kBlockCols, n - item.j);
    return item.i == item.j ? area - height * height / 2 : area;
  };
  std::ranges::stable_sort(items, [&](const Item& a, const Item& b) { return work(a) > work(b); });
  return items;
}

// panel [depth, width] = rows [begin, begin + depth) and columns [col, col + width) of x; columns
// that x does not have are zero.
void copy_panel(Matrix<const float> x, int64_t begin, int64_t depth, int64_t col, int64_t width,
                float* panel) {
  const int64_t cols = std::min(width, x.cols - col);
  for (int64_t t = 0; t < depth; ++t) {
    float* to = panel + t * width;
    std::copy_n(x.data + (begin + t) * x.stride + col, cols, to);
    std::fill(to + cols, to + width, 0.0f);
  }
}

// sums [height, kBlockCols] (+)= left [height, depth] panels of J, tokens [begin, begin + depth).
void add_step(const GemmTiles& tiles, Matrix<const float> x, const Item& item, int64_t begin,
              int64_t depth, Scratch& scratch) {
  const int64_t height = std::min(kBlockRows, x.cols - item.i);
  const int64_t width = std::min(kBlockCols, x.cols - item.j);
  tiles.transpose(x.data + begin * x.stride + item.i, x.stride, depth, height, scratch.left.data(),
                  kLeftStride);
  for (int64_t c = 0; c < width; c += tiles.cols) {
    copy_panel(x, begin, depth, item.j + c, tiles.cols, scratch.panel.data());
    // Rows of I that lie on or above the diagonal somewhere in this panel.
    const int64_t rows = item.i == item.j ? std::min(height, c + tiles.cols) : height;
    const int64_t blocks = ceil_div(rows, tiles.rows);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t row = rows * b / blocks;
      const int64_t count = rows * (b + 1) / blocks - row;
      tiles.tile[count](scratch.left.data() + row * kLeftStride, kLeftStride, scratch.panel.data(),
                        tiles.cols, depth, scratch.sums.data() + row * kBlockCols + c, kBlockCols,
                        begin > 0);
    }
  }
}

void add_item(const GemmTiles& tiles, Matrix<const float> x, const Item& item, Matrix<double> sum,
              Scratch& scratch) {
  scratch.left.ensure(static_cast<size_t>(kBlockRows * kLeftStride));
  scratch.panel.ensure(static_cast<size_t>(kDepth * tiles.cols));
  scratch.sums.ensure(static_cast<size_t>(kBlockRows * kBlockCols));
  const int64_t steps = ceil_div(x.rows, kDepth);
  for (int64_t s = 0; s < steps; ++s) {
    const int64_t begin = x.rows * s / steps;
    add_step(tiles, x, item, begin, x.rows * (s + 1) / steps - begin, scratch);
  }
  const int64_t height = std::min(kBlockRows, x.cols - item.i);
  const int64_t width = std::min(kBlockCols, x.cols - item.j);
  for (int64_t r = 0; r < height; ++r) {
    const float* from = scratch.sums.data() + r * kBlockCols;
    double* to = sum.row(item.i + r).data() + item.j;
    for (int64_t c = item.i == item.j ? r : 0; c < width; ++c)
      to[c] += static_cast<double>(from[c]);
  }
}

}  // namespace

void add_gram(Matrix<const float> x, Matrix<double> sum, ThreadPool& pool, Isa isa) {
  TWOFOLD_ASSERT(sum.rows == x.cols && sum.cols == x.cols);
  if (x.rows == 0 || x.cols == 0) return;
  const GemmTiles& tiles = gemm_tiles(isa);
  const std::vector<Item> items = items_of(x.cols);
  std::vector<Scratch> scratch(static_cast<size_t>(pool.size()));
  pool.run(static_cast<int64_t>(items.size()), [&](int64_t i, int worker) {
    add_item(tiles, x, items[static_cast<size_t>(i)], sum, scratch[static_cast<size_t>(worker)]);
  });
}

}  // namespace twofold

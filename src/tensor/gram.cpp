// How the product is cut. Columns of x are divided into blocks I; from the start of each, the
// columns up to the last are divided into wider blocks J; an item is a pair (I, J). An item walks
// over the tokens in steps of kDepth: it transposes the columns of I into rows, packs those of J, a
// panel at a time, and lets the products of the float GEMM (block_products.h) add to sums [I, J] in
// the second-level cache. Blocks wholly below the diagonal are left out. All sizes follow from
// shapes and instruction set.
#include "tensor/gram.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "base/error.h"
#include "tensor/block_products.h"
#include "tensor/simd/select.h"

namespace twofold {
namespace {

constexpr int64_t kDepth = 256;  // tokens of one step
// Columns of I and of J, multiples of the sides of tiles: the more of J, the rarer is transposing;
// the sums of an item and the transposed numbers of a step must stay in the second-level cache.
constexpr int64_t kBlockRows = 224;
constexpr int64_t kBlockCols = 448;
// Rows of transposed numbers, an odd number of cache lines apart.
constexpr int64_t kLeftStride = kDepth + 16;

struct Item {
  int64_t i, j;  // first columns of the blocks
};

struct Scratch {
  AlignedBuffer<float> left;      // [kBlockRows, kLeftStride] transposed columns of I
  AlignedBuffer<float> prepared;  // the same as the products read it
  AlignedBuffer<float> panel;     // some columns of J
  AlignedBuffer<float> sums;      // [kBlockRows, kBlockCols]
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

// What an instruction set brings along.
struct Parts {
  const GemmTiles& tiles;  // to transpose with
  const BlockProducts& products;
};

// sums [height, kBlockCols] (+)= left [height, depth] panels of J, tokens [begin, begin + depth).
void add_step(const Parts& parts, Matrix<const float> x, const Item& item, int64_t begin,
              int64_t depth, Scratch& scratch) {
  const BlockProducts& products = parts.products;
  const int64_t height = std::min(kBlockRows, x.cols - item.i);
  const int64_t width = std::min(kBlockCols, x.cols - item.j);
  const int64_t panel_cols = products.cuts.panel_cols;
  parts.tiles.transpose(x.data + begin * x.stride + item.i, x.stride, depth, height,
                        scratch.left.data(), kLeftStride);
  const Matrix<const float> rows_of_i(scratch.left.data(), height, depth, kLeftStride);
  LeftBlock left{rows_of_i.data, kLeftStride, height, depth};
  if (!products.reads_in_place(rows_of_i)) {
    scratch.prepared.ensure(static_cast<size_t>(kBlockRows * products.left_stride(kDepth)));
    products.prepare(rows_of_i, scratch.prepared.data());
    left = {scratch.prepared.data(), products.left_stride(depth), height, depth};
  }
  for (int64_t c = 0; c < width; c += panel_cols) {
    products.pack_columns(
        {x.data + begin * x.stride + item.j + c, depth, std::min(panel_cols, width - c), x.stride},
        scratch.panel.data());
    // Rows of I that lie on or above the diagonal somewhere in this panel.
    left.rows = item.i == item.j ? std::min(height, c + panel_cols) : height;
    products.multiply(left, scratch.panel.data(), 0, depth,
                      {scratch.sums.data() + c, left.rows, panel_cols, kBlockCols}, begin > 0);
  }
}

void add_item(const Parts& parts, Matrix<const float> x, const Item& item, Matrix<double> sum,
              Scratch& scratch) {
  const BlockProducts& products = parts.products;
  scratch.left.ensure(static_cast<size_t>(kBlockRows * kLeftStride));
  scratch.panel.ensure(static_cast<size_t>(products.panel_floats(kDepth)));
  scratch.sums.ensure(static_cast<size_t>(kBlockRows * kBlockCols));
  const int64_t steps = ceil_div(x.rows, kDepth);
  for (int64_t s = 0; s < steps; ++s) {
    const int64_t begin = x.rows * s / steps;
    add_step(parts, x, item, begin, x.rows * (s + 1) / steps - begin, scratch);
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
  const std::unique_ptr<const BlockProducts> products = block_products(isa);
  const Parts parts{gemm_tiles(isa), *products};
  const std::vector<Item> items = items_of(x.cols);
  std::vector<Scratch> scratch(static_cast<size_t>(pool.size()));
  pool.run(static_cast<int64_t>(items.size()), [&](int64_t i, int worker) {
    add_item(parts, x, items[static_cast<size_t>(i)], sum, scratch[static_cast<size_t>(worker)]);
  });
}

}  // namespace twofold

// How a product is cut. x [m, K] times the transposed W [n, K]:
//   panel   N rows of W, decoded 16 at a time and packed as [K, N], so that one step over k reads
//           N neighbours
//   group   panels packed together, by all threads, before they are used by all threads
//   block   about kChunkRows rows of x times a depth of at most kDepth columns: what stays in the
//           second-level cache while the panels of a group pass by
//   item    some panels of a group times some rows of x; threads take items. Where x is a single
//           block, an item packs its panels itself
//   tile    R x N outputs in registers (simd/gemm_body.h)
// All sizes follow from shapes and instruction set. Each output is a chain over the columns of each
// block of depth, and blocks are added in order: the same sum whatever the number of threads, the
// item or the tile. With kGemmMinRows rows or more a row's result does not depend on the others.
#include "tensor/gemm.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "base/error.h"
#include "tensor/dense_source.h"
#include "tensor/ops.h"
#include "tensor/simd/select.h"

namespace twofold {
namespace {

constexpr int64_t kDepth = 224;
constexpr int64_t kChunkRows = 350;
constexpr int64_t kDecodeRows = 16;                 // the height of the packed formats' tiles
constexpr int64_t kFewProducts = int64_t{1} << 14;  // about what waking a thread takes
// Packed panels of an item: at most 2^19 floats (2 MB), unless a single panel is longer.
constexpr int64_t kPanelFloats = int64_t{1} << 19;
// Panels of a group: at most 2^21 floats (8 MB), unless a single panel is longer.
constexpr int64_t kGroupFloats = int64_t{1} << 21;
// An x of at most 2^18 floats (1 MB) stays in the second-level cache whole, as one block.
constexpr int64_t kBlockFloats = int64_t{1} << 18;
constexpr int64_t kWantedItems = 8;

// Grows to what the largest product of its thread needs: the panels of one group, kDecodeRows
// decoded rows, and a block of x if it has to be copied; the limits are above.
struct Scratch {
  AlignedBuffer<float> panels, decoded, left;
};
Scratch& scratch() {
  thread_local Scratch buffers;
  return buffers;
}

size_t floats(int64_t count) { return static_cast<size_t>(count); }

// Columns per block of depth: even blocks, multiples of 8.
int64_t depth_of(int64_t cols) { return round_up(ceil_div(cols, ceil_div(cols, kDepth)), 8); }

// Rows of x as tiles can read them: a tile walks down R rows at once, and rows a multiple of 1 KB
// apart compete for a few sets of the cache, so those are copied to rows an odd number of lines
// apart, in the scratch of the calling thread.
Matrix<const float> readable_rows(Matrix<const float> x) {
  if (x.stride % 256 != 0 || x.rows <= 4) return x;
  AlignedBuffer<float>& copy = scratch().left;
  const int64_t stride = round_up(x.cols, 32) + 16;
  copy.ensure(floats(x.rows * stride));
  for (int64_t r = 0; r < x.rows; ++r) {
    std::copy_n(x.data + r * x.stride, x.cols, copy.data() + r * stride);
  }
  return {copy.data(), x.rows, x.cols, stride};
}

// The even division of `count` things into `parts`: things [begin, end) of part `index`.
struct Range {
  int64_t begin, end;
};
Range part_of(int64_t count, int64_t parts, int64_t index) {
  return {count * index / parts, count * (index + 1) / parts};
}

// Asks for numbers [begin, end) of `from` in the second-level cache.
void prefetch(const float* from, Range range) {
  for (int64_t i = range.begin; i < range.end; i += 16) __builtin_prefetch(from + i, 0, 2);
}

// y [m, N or less] (+)= x [m, k] panel [k, N]. Meanwhile asks for the panel `panel_step` floats
// further on, if that is not 0: panels packed by another thread come from far away.
void multiply_panel(const GemmTiles& tiles, Matrix<const float> x, const float* panel,
                    int64_t panel_stride, int64_t panel_step, Matrix<float> y, bool accumulate) {
  const int64_t blocks = ceil_div(x.rows, tiles.rows);
  const float* ahead = panel + panel_step;
  const int64_t ahead_floats = x.cols * tiles.cols;
  std::array<float, kMaxTileRows * kMaxTileCols> edge;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = x.rows * b / blocks;
    const int64_t rows = x.rows * (b + 1) / blocks - begin;
    const float* left = x.data + begin * x.stride;
    if (panel_step != 0) prefetch(ahead, part_of(ahead_floats, blocks, b));
    float* out = y.data + begin * y.stride;
    if (y.cols == tiles.cols) {
      tiles.tile[rows](left, x.stride, panel, panel_stride, x.cols, out, y.stride, accumulate);
      continue;
    }
    tiles.tile[rows](left, x.stride, panel, panel_stride, x.cols, edge.data(), tiles.cols, false);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < y.cols; ++c) {
        const float sum = edge[floats(r * tiles.cols + c)];
        float& slot = out[r * y.stride + c];
        slot = accumulate ? slot + sum : sum;
      }
    }
  }
}

Matrix<float> columns(Matrix<float> y, int64_t begin, int64_t count) {
  return {y.data + begin, y.rows, std::min(count, y.cols - begin), y.stride};
}

// y [m, n] (+)= x [m, K] panels [ceil(n / N)][K, N].
void multiply(const GemmTiles& tiles, Matrix<const float> x, const float* panels, Matrix<float> y,
              bool accumulate) {
  const int64_t depth = depth_of(x.cols);
  const int64_t chunks = ceil_div(x.rows, kChunkRows);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t row = x.rows * chunk / chunks;
    const int64_t rows = x.rows * (chunk + 1) / chunks - row;
    const Matrix<float> out(y.data + row * y.stride, rows, y.cols, y.stride);
    for (int64_t k = 0; k < x.cols; k += depth) {
      const float* corner = x.data + row * x.stride + k;
      const Matrix<const float> block =
          readable_rows({corner, rows, std::min(depth, x.cols - k), x.stride});
      for (int64_t c = 0; c < y.cols; c += tiles.cols) {
        const float* panel = panels + c * x.cols + k * tiles.cols;
        multiply_panel(tiles, block, panel, tiles.cols,
                       c + tiles.cols < y.cols ? tiles.cols * x.cols : 0,
                       columns(out, c, tiles.cols), accumulate || k > 0);
      }
    }
  }
}

// y [m, n] (+)= x [m, k] v [k, n], one block of depth. Panels of v that serve a single tile are
// read where they lie; others, and a last narrow one, are copied so that their rows are neighbours.
void multiply_in_place(const GemmTiles& tiles, Matrix<const float> x, Matrix<const float> v,
                       Matrix<float> y, bool accumulate) {
  AlignedBuffer<float>& packed = scratch().panels;
  packed.ensure(floats(tiles.cols * v.rows));
  for (int64_t c = 0; c < v.cols; c += tiles.cols) {
    const int64_t width = std::min(tiles.cols, v.cols - c);
    const Matrix<float> out = columns(y, c, tiles.cols);
    if (width == tiles.cols && x.rows <= tiles.rows) {
      multiply_panel(tiles, x, v.data + c, v.stride, 0, out, accumulate);
      continue;
    }
    for (int64_t k = 0; k < v.rows; ++k) {
      float* to = packed.data() + k * tiles.cols;
      std::copy_n(v.data + k * v.stride + c, width, to);
      std::fill(to + width, to + tiles.cols, 0.0f);
    }
    multiply_panel(tiles, x, packed.data(), tiles.cols, 0, out, accumulate);
  }
}

// Packs rows [begin, begin + count) of `weight` as [ceil(count / N)][K, N]; missing rows are zero.
void pack_rows(const GemmTiles& tiles, const RowSource& weight, int64_t begin, int64_t count,
               float* panels) {
  const int64_t cols = weight.cols();
  const DenseView* dense = weight.dense();
  const bool in_place = dense != nullptr && dense->dtype == DType::kF32;
  const int64_t stride = in_place ? dense->stride : round_up(cols, 32) + 16;
  AlignedBuffer<float>& decoded = scratch().decoded;
  if (!in_place) decoded.ensure(floats(kDecodeRows * stride));
  if (const int64_t whole = count / tiles.cols; count % tiles.cols != 0) {
    std::memset(panels + whole * tiles.cols * cols, 0, floats(tiles.cols * cols) * sizeof(float));
  }
  const int64_t step = std::min(kDecodeRows, tiles.cols);
  for (int64_t r = 0; r < count; r += step) {
    const int64_t rows = std::min(step, count - r);
    const float* from = decoded.data();
    if (in_place) {
      from = static_cast<const float*>(dense->data) + (begin + r) * stride;
    } else {
      weight.decode_rows(begin + r, rows, decoded.data(), stride);
    }
    float* panel = panels + r / tiles.cols * tiles.cols * cols;
    tiles.transpose(from, stride, rows, cols, panel + r % tiles.cols, tiles.cols);
  }
}

// How many panels of depth `cols` `limit` floats hold; at least one.
int64_t fitting_panels(const GemmTiles& tiles, int64_t cols, int64_t limit) {
  return std::max<int64_t>(limit / (cols * tiles.cols), 1);
}

// x is a single block of rows: items are ranges of panels, packed by the thread that uses them.
void multiply_block(const GemmTiles& tiles, Matrix<const float> x, const RowSource& weight,
                    Matrix<float> y, ThreadPool& pool, bool accumulate) {
  const Matrix<const float> left = readable_rows(x);
  const int64_t panels = ceil_div(y.cols, tiles.cols);
  const int64_t fitting = fitting_panels(tiles, x.cols, kPanelFloats);
  const int64_t items = std::min(panels, std::max(kWantedItems, ceil_div(panels, fitting)));
  pool.run(items, [&](int64_t item, int) {
    const Range range = part_of(panels, items, item);
    const int64_t begin = range.begin * tiles.cols;
    const int64_t count = std::min(range.end * tiles.cols, y.cols) - begin;
    AlignedBuffer<float>& packed = scratch().panels;
    packed.ensure(floats((range.end - range.begin) * tiles.cols * x.cols));
    pack_rows(tiles, weight, begin, count, packed.data());
    multiply(tiles, left, packed.data(), columns(y, begin, count), accumulate);
  });
}

// y (+)= x times one group of panels: rows [begin, begin + y.cols) of `weight`.
void multiply_group(const GemmTiles& tiles, Matrix<const float> x, const RowSource& weight,
                    int64_t begin, Matrix<float> y, ThreadPool& pool, bool accumulate) {
  const int64_t panels = ceil_div(y.cols, tiles.cols);
  AlignedBuffer<float>& packed = scratch().panels;
  packed.ensure(floats(panels * tiles.cols * x.cols));
  pool.run(panels, [&](int64_t p, int) {
    const int64_t row = p * tiles.cols;
    pack_rows(tiles, weight, begin + row, std::min(tiles.cols, y.cols - row),
              packed.data() + row * x.cols);
  });
  // An even number of parts, which two threads share evenly.
  const int64_t row_parts = round_up(ceil_div(x.rows, kChunkRows), 2);
  const int64_t panel_parts = std::min(ceil_div(kWantedItems, row_parts), panels);
  pool.run(row_parts * panel_parts, [&](int64_t item, int) {
    const Range rows = part_of(x.rows, row_parts, item / panel_parts);
    const Range range = part_of(panels, panel_parts, item % panel_parts);
    const int64_t first = range.begin * tiles.cols;
    const int64_t count = std::min(range.end * tiles.cols, y.cols) - first;
    const int64_t height = rows.end - rows.begin;
    multiply(tiles, {x.data + rows.begin * x.stride, height, x.cols, x.stride},
             packed.data() + first * x.cols,
             {y.data + rows.begin * y.stride + first, height, count, y.stride}, accumulate);
  });
}

// y [m, n] (+)= dot products of the rows of x with row r of the weight, by `dot`.
template <class Dot>
void dot_rows(Matrix<const float> x, int64_t r, Matrix<float> y, bool accumulate, Dot dot) {
  for (int64_t i = 0; i < x.rows; ++i) {
    const float sum = dot(x.data + i * x.stride);
    float& slot = y.data[i * y.stride + r];
    slot = accumulate ? slot + sum : sum;
  }
}

void matmul_few_dense(Matrix<const float> x, const DenseView& w, int64_t begin, int64_t end,
                      Matrix<float> y, const Ops& ops, bool accumulate) {
  for (int64_t r = begin; r < end; ++r) {
    if (w.dtype == DType::kF32) {
      const float* row = static_cast<const float*>(w.data) + r * w.stride;
      dot_rows(x, r, y, accumulate, [&](const float* a) { return ops.dot(a, row, x.cols); });
    } else {
      const uint16_t* row = static_cast<const uint16_t*>(w.data) + r * w.stride;
      const auto dot = w.dtype == DType::kF16 ? ops.dot_f16 : ops.dot_bf16;
      dot_rows(x, r, y, accumulate, [&](const float* a) { return dot(a, row, x.cols); });
    }
  }
}

// One dot product per output: each thread reads one contiguous range of the weights once. A range
// is worth waking a thread for: at least kFewProducts multiplications.
void matmul_few(Matrix<const float> x, const RowSource& weight, Matrix<float> y, ThreadPool& pool,
                const Ops& ops, bool accumulate) {
  const int64_t row_products = std::max<int64_t>(x.rows * x.cols, 1);
  const int64_t group = round_up(ceil_div(kFewProducts, row_products), kDecodeRows);
  pool.run_static(ceil_div(weight.rows(), group), [&](int64_t first, int64_t last, int) {
    const int64_t begin = first * group;
    const int64_t end = std::min(last * group, weight.rows());
    if (const DenseView* dense = weight.dense()) {
      matmul_few_dense(x, *dense, begin, end, y, ops, accumulate);
      return;
    }
    AlignedBuffer<float>& decoded = scratch().decoded;
    decoded.ensure(floats(kDecodeRows * x.cols));
    for (int64_t r = begin; r < end; r += kDecodeRows) {
      const int64_t rows = std::min(kDecodeRows, end - r);
      weight.decode_rows(r, rows, decoded.data(), x.cols);
      for (int64_t i = 0; i < rows; ++i) {
        const float* row = decoded.data() + i * x.cols;
        dot_rows(x, r + i, y, accumulate, [&](const float* a) { return ops.dot(a, row, x.cols); });
      }
    }
  });
}

}  // namespace

void matmul(Matrix<const float> x, const RowSource& weight, Matrix<float> y, ThreadPool& pool,
            Isa isa, bool accumulate) {
  TWOFOLD_ASSERT(x.cols == weight.cols());
  TWOFOLD_ASSERT(y.rows == x.rows && y.cols == weight.rows());
  if (x.rows == 0 || y.cols == 0) return;
  if (x.rows < kGemmMinRows || x.cols == 0) {
    matmul_few(x, weight, y, pool, ops(isa), accumulate);
    return;
  }
  const GemmTiles& tiles = gemm_tiles(isa);
  if (x.rows <= kChunkRows || x.rows * x.cols <= kBlockFloats) {
    multiply_block(tiles, x, weight, y, pool, accumulate);
    return;
  }
  const int64_t panels = ceil_div(y.cols, tiles.cols);
  const int64_t groups = ceil_div(panels, fitting_panels(tiles, x.cols, kGroupFloats));
  for (int64_t g = 0; g < groups; ++g) {
    const Range range = part_of(panels, groups, g);
    const int64_t begin = range.begin * tiles.cols;
    const Matrix<float> out = columns(y, begin, (range.end - range.begin) * tiles.cols);
    multiply_group(tiles, x, weight, begin, out, pool, accumulate);
  }
}

void matmul_nn_serial(Matrix<const float> x, Matrix<const float> v, Matrix<float> y, Isa isa) {
  TWOFOLD_ASSERT(x.cols == v.rows && y.rows == x.rows && y.cols == v.cols);
  if (x.rows == 0 || v.cols == 0) return;
  if (x.cols == 0) {
    for (int64_t r = 0; r < y.rows; ++r) std::ranges::fill(y.row(r), 0.0f);
    return;
  }
  const GemmTiles& tiles = gemm_tiles(isa);
  const int64_t depth = depth_of(x.cols);
  for (int64_t row = 0; row < x.rows; row += kChunkRows) {
    const int64_t rows = std::min(kChunkRows, x.rows - row);
    const Matrix<float> out(y.data + row * y.stride, rows, y.cols, y.stride);
    for (int64_t k = 0; k < x.cols; k += depth) {
      const float* corner = x.data + row * x.stride + k;
      const Matrix<const float> block =
          readable_rows({corner, rows, std::min(depth, x.cols - k), x.stride});
      multiply_in_place(tiles, block, {v.data + k * v.stride, block.cols, v.cols, v.stride}, out,
                        k > 0);
    }
  }
}

void pack_panel(Matrix<const float> w, float* panel, Isa isa) {
  TWOFOLD_ASSERT(w.rows <= kPanelCols);
  if (w.rows < kPanelCols) std::fill_n(panel, w.cols * kPanelCols, 0.0f);
  gemm_tiles(isa).transpose(w.data, w.stride, w.rows, w.cols, panel, kPanelCols);
}

void multiply_panel(Matrix<const float> x, const float* panel, Matrix<float> y, Isa isa) {
  TWOFOLD_ASSERT(y.rows == x.rows && y.cols == kPanelCols);
  const GemmTiles& tiles = gemm_tiles(isa);
  for (int64_t c = 0; c < kPanelCols; c += tiles.cols) {
    multiply_panel(tiles, x, panel + c, kPanelCols, 0, columns(y, c, tiles.cols), false);
  }
}

}  // namespace twofold

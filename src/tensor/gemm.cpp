// How a product is cut. x [m, K] times the transposed W [n, K]:
//   panel   N rows of W, decoded 16 at a time and packed as [K, N], so that one step over k reads
//           N neighbours
//   item    some panels of W, in the scratch of its thread, times rows of x; threads take items
//   block   kChunkRows rows of x times a depth of at most kDepth columns: what stays in the
//           second-level cache while the panels of an item pass by
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

constexpr int64_t kDepth = 320;
constexpr int64_t kChunkRows = 252;
constexpr int64_t kDecodeRows = 16;  // the height of the packed formats' tiles
// Packed panels of an item: at most 2^19 floats (2 MB), unless a single panel is longer.
constexpr int64_t kPanelFloats = int64_t{1} << 19;
// Rows of x taken together: at most 2^22 floats (16 MB), unless kChunkRows rows are longer. Larger
// batches decode the weights once for each such part.
constexpr int64_t kLeftFloats = int64_t{1} << 22;
constexpr int64_t kWantedItems = 12;

// Grows to what the largest product of its thread needs: the panels of one item, kDecodeRows
// decoded rows, and a part of x if it has to be copied; the limits are above.
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

// Rows of x as tiles read them: the numbers of row r and block of depth d start at
// data + d block_step + r stride.
struct Left {
  const float* data;
  int64_t rows, cols;
  int64_t stride;
  int64_t block_step;
};

// A tile walks down R rows at once, and rows a multiple of 1 KB apart compete for a few sets of the
// cache, so those are copied.
bool must_copy(Matrix<const float> x) { return x.stride % 256 == 0 && x.rows > 4; }

// Rows of a copied block are an odd number of cache lines apart.
int64_t copied_stride(int64_t depth) { return round_up(depth, 32) + 16; }

int64_t copied_floats(Matrix<const float> x) {
  const int64_t depth = depth_of(x.cols);
  return ceil_div(x.cols, depth) * x.rows * copied_stride(depth);
}

// The layout of x, copied to `copy` by `copy_rows` if that is not null.
Left left_rows(Matrix<const float> x, const float* copy) {
  const int64_t depth = depth_of(x.cols);
  if (copy == nullptr) return {x.data, x.rows, x.cols, x.stride, depth};
  return {copy, x.rows, x.cols, copied_stride(depth), x.rows * copied_stride(depth)};
}

void copy_rows(Matrix<const float> x, int64_t begin, int64_t end, float* copy) {
  const int64_t depth = depth_of(x.cols);
  const int64_t stride = copied_stride(depth);
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t k = 0; k < x.cols; k += depth) {
      std::copy_n(x.data + r * x.stride + k, std::min(depth, x.cols - k),
                  copy + k / depth * x.rows * stride + r * stride);
    }
  }
}

// x readable by tiles, on the calling thread.
Left left_serial(Matrix<const float> x) {
  if (!must_copy(x)) return left_rows(x, nullptr);
  AlignedBuffer<float>& copy = scratch().left;
  copy.ensure(floats(copied_floats(x)));
  copy_rows(x, 0, x.rows, copy.data());
  return left_rows(x, copy.data());
}

Left left_parallel(Matrix<const float> x, ThreadPool& pool) {
  if (!must_copy(x)) return left_rows(x, nullptr);
  AlignedBuffer<float>& copy = scratch().left;
  copy.ensure(floats(copied_floats(x)));
  constexpr int64_t kRows = 32;
  pool.run(ceil_div(x.rows, kRows), [&](int64_t item, int) {
    copy_rows(x, item * kRows, std::min((item + 1) * kRows, x.rows), copy.data());
  });
  return left_rows(x, copy.data());
}

// y [m, N or less] (+)= x [m, k] panel [k, N].
void multiply_panel(const GemmTiles& tiles, Matrix<const float> x, const float* panel,
                    int64_t panel_stride, Matrix<float> y, bool accumulate) {
  const int64_t blocks = ceil_div(x.rows, tiles.rows);
  std::array<float, kMaxTileRows * kMaxTileCols> edge;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = x.rows * b / blocks;
    const int64_t rows = x.rows * (b + 1) / blocks - begin;
    const float* left = x.data + begin * x.stride;
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

// y [end - begin, n] (+)= rows [begin, end) of x times panels [ceil(n / N)][K, N].
void multiply(const GemmTiles& tiles, const Left& x, int64_t begin, int64_t end,
              const float* panels, Matrix<float> y, bool accumulate) {
  const int64_t depth = depth_of(x.cols);
  const int64_t chunks = ceil_div(end - begin, kChunkRows);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t row = (end - begin) * chunk / chunks;
    const int64_t rows = (end - begin) * (chunk + 1) / chunks - row;
    const Matrix<float> out(y.data + row * y.stride, rows, y.cols, y.stride);
    for (int64_t k = 0; k < x.cols; k += depth) {
      const float* corner = x.data + k / depth * x.block_step + (begin + row) * x.stride;
      const Matrix<const float> block(corner, rows, std::min(depth, x.cols - k), x.stride);
      for (int64_t c = 0; c < y.cols; c += tiles.cols) {
        const float* panel = panels + c * x.cols + k * tiles.cols;
        multiply_panel(tiles, block, panel, tiles.cols, columns(out, c, tiles.cols),
                       accumulate || k > 0);
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
      multiply_panel(tiles, x, v.data + c, v.stride, out, accumulate);
      continue;
    }
    for (int64_t k = 0; k < v.rows; ++k) {
      float* to = packed.data() + k * tiles.cols;
      std::copy_n(v.data + k * v.stride + c, width, to);
      std::fill(to + width, to + tiles.cols, 0.0f);
    }
    multiply_panel(tiles, x, packed.data(), tiles.cols, out, accumulate);
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

// How many panels fit the scratch of an item.
int64_t fitting_panels(const GemmTiles& tiles, int64_t cols) {
  return std::max<int64_t>(kPanelFloats / (cols * tiles.cols), 1);
}

// Rows of x taken together.
int64_t part_rows(int64_t cols) {
  return std::max(kLeftFloats / cols / kChunkRows, int64_t{1}) * kChunkRows;
}

Matrix<const float> rows_of(Matrix<const float> x, int64_t begin, int64_t count) {
  return {x.data + begin * x.stride, std::min(count, x.rows - begin), x.cols, x.stride};
}

// One part of x times all of W. Items are ranges of panels; where there are few panels, their rows
// are divided as well.
void multiply_part(const GemmTiles& tiles, Matrix<const float> x, const RowSource& weight,
                   Matrix<float> y, ThreadPool& pool, bool accumulate) {
  const Left left = left_parallel(x, pool);
  const int64_t panels = ceil_div(y.cols, tiles.cols);
  const int64_t wanted = std::max(kWantedItems, ceil_div(panels, fitting_panels(tiles, x.cols)));
  const int64_t panel_items = std::min(panels, round_up(wanted, 4));
  const int64_t row_items =
      std::min(ceil_div(kWantedItems, panel_items), ceil_div(x.rows, kChunkRows));
  pool.run(row_items * panel_items, [&](int64_t item, int) {
    const int64_t row = x.rows * (item / panel_items) / row_items;
    const int64_t row_end = x.rows * (item / panel_items + 1) / row_items;
    const int64_t p = item % panel_items;
    const int64_t col = panels * p / panel_items * tiles.cols;
    const int64_t col_end = std::min(panels * (p + 1) / panel_items * tiles.cols, y.cols);
    AlignedBuffer<float>& packed = scratch().panels;
    packed.ensure(floats(round_up(col_end - col, tiles.cols) * x.cols));
    pack_rows(tiles, weight, col, col_end - col, packed.data());
    const Matrix<float> out(y.data + row * y.stride + col, row_end - row, col_end - col, y.stride);
    multiply(tiles, left, row, row_end, packed.data(), out, accumulate);
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

// One dot product per output: each thread reads one contiguous range of the weights once.
void matmul_few(Matrix<const float> x, const RowSource& weight, Matrix<float> y, ThreadPool& pool,
                const Ops& ops, bool accumulate) {
  const int64_t groups = ceil_div(weight.rows(), kDecodeRows);
  pool.run_static(groups, [&](int64_t first, int64_t last, int) {
    const int64_t begin = first * kDecodeRows;
    const int64_t end = std::min(last * kDecodeRows, weight.rows());
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
  const int64_t step = part_rows(x.cols);
  for (int64_t row = 0; row < x.rows; row += step) {
    const Matrix<const float> part = rows_of(x, row, step);
    const Matrix<float> out(y.data + row * y.stride, part.rows, y.cols, y.stride);
    multiply_part(gemm_tiles(isa), part, weight, out, pool, accumulate);
  }
}

void matmul_serial(Matrix<const float> x, Matrix<const float> w, Matrix<float> y, Isa isa) {
  TWOFOLD_ASSERT(x.cols == w.cols && y.rows == x.rows && y.cols == w.rows);
  if (x.rows == 0 || w.rows == 0) return;
  if (x.rows < kGemmMinRows || x.cols == 0) {
    matmul_few_dense(x, {DType::kF32, w.data, w.stride}, 0, w.rows, y, ops(isa), false);
    return;
  }
  const GemmTiles& tiles = gemm_tiles(isa);
  const int64_t step = std::min<int64_t>(fitting_panels(tiles, x.cols), 16) * tiles.cols;
  const DenseSource weight(w, isa);
  AlignedBuffer<float>& packed = scratch().panels;
  packed.ensure(floats(std::min(step, round_up(w.rows, tiles.cols)) * x.cols));
  for (int64_t row = 0; row < x.rows; row += part_rows(x.cols)) {
    const Matrix<const float> part = rows_of(x, row, part_rows(x.cols));
    const Matrix<float> out(y.data + row * y.stride, part.rows, y.cols, y.stride);
    const Left left = left_serial(part);
    for (int64_t col = 0; col < w.rows; col += step) {
      const int64_t count = std::min(step, w.rows - col);
      pack_rows(tiles, weight, col, count, packed.data());
      multiply(tiles, left, 0, part.rows, packed.data(), columns(out, col, count), false);
    }
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
      const Left left = left_serial({corner, rows, std::min(depth, x.cols - k), x.stride});
      const Matrix<const float> block(left.data, rows, left.cols, left.stride);
      multiply_in_place(tiles, block, {v.data + k * v.stride, block.cols, v.cols, v.stride}, out,
                        k > 0);
    }
  }
}

}  // namespace twofold

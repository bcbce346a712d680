#include <algorithm>
#include <array>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "base/error.h"
#include "tensor/block_products.h"
#include "tensor/gemm.h"
#include "tensor/simd/select.h"

namespace twofold {
namespace {

constexpr int64_t kDepth = 224;
constexpr int64_t kDepthUnit = 8;
constexpr int64_t kChunkRows = 350;
constexpr int64_t kGroupFloats = int64_t{1} << 21;  // 8 MB

// Grows to what matmul_nn_serial needs on its thread: a narrow panel, and a block of x if it has to
// be copied; the limits are above.
struct Scratch {
  AlignedBuffer<float> panel, left;
};
Scratch& scratch() {
  thread_local Scratch buffers;
  return buffers;
}

// Whether tiles can read rows of x: a tile walks down R rows at once, and rows a multiple of 1 KB
// apart compete for a few sets of the cache, so those are copied to rows an odd number of lines
// apart.
bool readable(Matrix<const float> x) { return x.stride % 256 != 0 || x.rows <= 4; }
int64_t copied_stride(int64_t cols) { return round_up(cols, 32) + 16; }

void copy_rows(Matrix<const float> x, float* to) {
  for (int64_t r = 0; r < x.rows; ++r) {
    std::copy_n(x.data + r * x.stride, x.cols, to + r * copied_stride(x.cols));
  }
}

// Asks for numbers [begin, end) of `from` in the second-level cache.
void prefetch(const float* from, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += 16) __builtin_prefetch(from + i, 0, 2);
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
    if (panel_step != 0)
      prefetch(ahead, ahead_floats * b / blocks, ahead_floats * (b + 1) / blocks);
    float* out = y.data + begin * y.stride;
    if (y.cols == tiles.cols) {
      tiles.tile[rows](left, x.stride, panel, panel_stride, x.cols, out, y.stride, accumulate);
      continue;
    }
    tiles.tile[rows](left, x.stride, panel, panel_stride, x.cols, edge.data(), tiles.cols, false);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < y.cols; ++c) {
        const float sum = edge[static_cast<size_t>(r * tiles.cols + c)];
        float& slot = out[r * y.stride + c];
        slot = accumulate ? slot + sum : sum;
      }
    }
  }
}

// y [m, n] (+)= x [m, k] v [k, n], one block of depth. Panels of v that serve a single tile are
// read where they lie; others, and a last narrow one, are copied so that their rows are neighbours.
void multiply_in_place(const GemmTiles& tiles, Matrix<const float> x, Matrix<const float> v,
                       Matrix<float> y, bool accumulate) {
  AlignedBuffer<float>& packed = scratch().panel;
  packed.ensure(static_cast<size_t>(tiles.cols * v.rows));
  for (int64_t c = 0; c < v.cols; c += tiles.cols) {
    const int64_t width = std::min(tiles.cols, v.cols - c);
    const Matrix<float> out = columns_of(y, c, tiles.cols);
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

class RegisterProducts final : public BlockProducts {
 public:
  explicit RegisterProducts(const GemmTiles& tiles)
      : BlockProducts({.panel_cols = tiles.cols,
                       .row_unit = 1,
                       .chunk_rows = kChunkRows,
                       .depth = kDepth,
                       .depth_unit = kDepthUnit,
                       .group_floats = kGroupFloats}),
        tiles_(tiles) {}

  std::string_view arithmetic() const override { return "float32"; }

  int64_t panel_floats(int64_t cols) const override { return tiles_.cols * cols; }

  void pack(Matrix<const float> w, int64_t first, float* panel) const override {
    tiles_.transpose(w.data, w.stride, w.rows, w.cols, panel + first, tiles_.cols);
  }

  void pack_columns(Matrix<const float> x, float* panel) const override {
    for (int64_t k = 0; k < x.rows; ++k) {
      float* to = panel + k * tiles_.cols;
      std::copy_n(x.data + k * x.stride, x.cols, to);
      std::fill(to + x.cols, to + tiles_.cols, 0.0f);
    }
  }

  bool reads_in_place(Matrix<const float> x) const override { return readable(x); }
  int64_t left_stride(int64_t depth) const override { return copied_stride(depth); }
  void prepare(Matrix<const float> x, float* left) const override { copy_rows(x, left); }

  void multiply(const LeftBlock& left, const float* panels, int64_t k, int64_t cols,
                Matrix<float> y, bool accumulate) const override {
    const Matrix<const float> x(left.data, left.rows, left.depth, left.stride);
    for (int64_t c = 0; c < y.cols; c += tiles_.cols) {
      multiply_panel(tiles_, x, panels + c * cols + k * tiles_.cols, tiles_.cols,
                     c + tiles_.cols < y.cols ? tiles_.cols * cols : 0,
                     columns_of(y, c, tiles_.cols), accumulate);
    }
  }

 private:
  const GemmTiles& tiles_;
};

}  // namespace

int64_t block_depth(int64_t cols, int64_t most, int64_t unit) {
  return round_up(ceil_div(cols, ceil_div(cols, most)), unit);
}

std::unique_ptr<const BlockProducts> block_products(Isa isa) {
  if (const SplitTiles* tiles = split_tiles(isa)) return split_products(*tiles);
  return register_products(gemm_tiles(isa));
}

std::unique_ptr<const BlockProducts> register_products(const GemmTiles& tiles) {
  return std::make_unique<RegisterProducts>(tiles);
}

void matmul_nn_serial(Matrix<const float> x, Matrix<const float> v, Matrix<float> y, Isa isa) {
  TWOFOLD_ASSERT(x.cols == v.rows && y.rows == x.rows && y.cols == v.cols);
  if (x.rows == 0 || v.cols == 0) return;
  if (x.cols == 0) {
    for (int64_t r = 0; r < y.rows; ++r) std::ranges::fill(y.row(r), 0.0f);
    return;
  }
  const GemmTiles& tiles = gemm_tiles(isa);
  const int64_t depth = block_depth(x.cols, kDepth, kDepthUnit);
  for (int64_t row = 0; row < x.rows; row += kChunkRows) {
    const int64_t rows = std::min(kChunkRows, x.rows - row);
    const Matrix<float> out(y.data + row * y.stride, rows, y.cols, y.stride);
    for (int64_t k = 0; k < x.cols; k += depth) {
      Matrix<const float> block(x.data + row * x.stride + k, rows, std::min(depth, x.cols - k),
                                x.stride);
      if (!readable(block)) {
        AlignedBuffer<float>& copy = scratch().left;
        copy.ensure(static_cast<size_t>(rows * copied_stride(block.cols)));
        copy_rows(block, copy.data());
        block = {copy.data(), rows, block.cols, copied_stride(block.cols)};
      }
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
    multiply_panel(tiles, x, panel + c, kPanelCols, 0, columns_of(y, c, tiles.cols), false);
  }
}

}  // namespace twofold

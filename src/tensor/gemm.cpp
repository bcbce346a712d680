// How a product is cut. x [m, K] times the transposed W [n, K]:
//   panel   N rows of W, decoded 16 at a time and packed as the products of the instruction set
//           (block_products.h) read them
//   group   panels packed together, by all threads, before they are used by all threads
//   block   some rows of x times some depth: what stays in the second-level cache while the panels
//           of a group pass by; prepared as the products read it
//   item    some panels of a group times some rows of x; threads take items. Where x is a single
//           block of rows, it is prepared by all threads, and an item packs its panels itself
// All sizes follow from shapes and instruction set. Each output is a chain over the columns of each
// block of depth, and blocks are added in order: the same sum whatever the number of threads, the
// item or the tile. With kGemmMinRows rows or more a row's result does not depend on the others.
#include "tensor/gemm.h"

#include <algorithm>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "base/error.h"
#include "tensor/block_products.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

constexpr int64_t kDecodeRows = 16;                 // the height of the packed formats' tiles
constexpr int64_t kFewProducts = int64_t{1} << 14;  // about what waking a thread takes
// Packed panels of an item: at most 2^19 floats (2 MB), unless a single panel is longer.
constexpr int64_t kPanelFloats = int64_t{1} << 19;
// An x of at most 2^18 floats (1 MB) stays in the second-level cache whole, as one block.
constexpr int64_t kBlockFloats = int64_t{1} << 18;
constexpr int64_t kWantedItems = 8;
constexpr int64_t kPreparedRows = 32;  // of x, at a time

// Grows to what the largest product of its thread needs: the panels of one group, kDecodeRows
// decoded rows, and x or a block of it if it has to be prepared; the limits are above.
struct Scratch {
  AlignedBuffer<float> panels, decoded, left, block;
};
Scratch& scratch() {
  thread_local Scratch buffers;
  return buffers;
}

size_t floats(int64_t count) { return static_cast<size_t>(count); }

// The even division of `count` things into `parts`: things [begin, end) of part `index`.
struct Range {
  int64_t begin, end;
};
Range part_of(int64_t count, int64_t parts, int64_t index) {
  return {count * index / parts, count * (index + 1) / parts};
}

int64_t depth_of(const BlockProducts& products, int64_t cols) {
  return block_depth(cols, products.cuts.depth, products.cuts.depth_unit);
}

// Rows of part `index` of `parts`, divided at multiples of the row unit.
Range rows_of_part(const BlockProducts& products, int64_t rows, int64_t parts, int64_t index) {
  const int64_t unit = products.cuts.row_unit;
  const Range units = part_of(ceil_div(rows, unit), parts, index);
  return {units.begin * unit, std::min(units.end * unit, rows)};
}

// Floats of x [m, K] prepared: its blocks of depth one after the other.
int64_t prepared_floats(const BlockProducts& products, Matrix<const float> x) {
  const int64_t depth = depth_of(products, x.cols);
  return ceil_div(x.cols, depth) * round_up(x.rows, products.cuts.row_unit) *
         products.left_stride(depth);
}

// Some rows of the block of depth from column k on, of x prepared as `left`.
LeftBlock prepared_block(const BlockProducts& products, Matrix<const float> x, const float* left,
                         int64_t k, Range rows) {
  const int64_t depth = depth_of(products, x.cols);
  const int64_t block_floats =
      round_up(x.rows, products.cuts.row_unit) * products.left_stride(depth);
  const int64_t columns = std::min(depth, x.cols - k);
  const int64_t stride = products.left_stride(columns);
  return {left + k / depth * block_floats + rows.begin * stride, stride, rows.end - rows.begin,
          columns};
}

// y [m, n] (+)= x [m, K] panels [ceil(n / N)] of depth K. `prepared` holds x prepared, or is null:
// then blocks are, one by one, unless they are read in place.
void multiply(const BlockProducts& products, Matrix<const float> x, const float* prepared,
              const float* panels, Matrix<float> y, bool accumulate) {
  const int64_t depth = depth_of(products, x.cols);
  const int64_t chunks = ceil_div(x.rows, products.cuts.chunk_rows);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const Range rows = rows_of_part(products, x.rows, chunks, chunk);
    const Matrix<float> out(y.data + rows.begin * y.stride, rows.end - rows.begin, y.cols,
                            y.stride);
    for (int64_t k = 0; k < x.cols; k += depth) {
      const Matrix<const float> block(x.data + rows.begin * x.stride + k, out.rows,
                                      std::min(depth, x.cols - k), x.stride);
      LeftBlock left{block.data, block.stride, block.rows, block.cols};
      if (prepared != nullptr) {
        left = prepared_block(products, x, prepared, k, rows);
      } else if (!products.reads_in_place(block)) {
        AlignedBuffer<float>& buffer = scratch().block;
        buffer.ensure(floats(prepared_floats(products, block)));
        products.prepare(block, buffer.data());
        left = {buffer.data(), products.left_stride(block.cols), block.rows, block.cols};
      }
      products.multiply(left, panels, k, x.cols, out, accumulate || k > 0);
    }
  }
}

// Packs rows [begin, begin + count) of `weight` as [ceil(count / N)] panels; missing rows are zero.
void pack_rows(const BlockProducts& products, const RowSource& weight, int64_t begin, int64_t count,
               float* panels) {
  const int64_t cols = weight.cols(), width = products.cuts.panel_cols;
  const int64_t panel_floats = products.panel_floats(cols);
  const DenseView* dense = weight.dense();
  const bool in_place = dense != nullptr && dense->dtype == DType::kF32;
  const int64_t stride = in_place ? dense->stride : round_up(cols, 32) + 16;
  AlignedBuffer<float>& decoded = scratch().decoded;
  if (!in_place) decoded.ensure(floats(kDecodeRows * stride));
  if (count % width != 0) {
    std::memset(panels + count / width * panel_floats, 0, floats(panel_floats) * sizeof(float));
  }
  const int64_t step = std::min(kDecodeRows, width);
  for (int64_t r = 0; r < count; r += step) {
    const int64_t rows = std::min(step, count - r);
    const float* from = decoded.data();
    if (in_place) {
      from = static_cast<const float*>(dense->data) + (begin + r) * stride;
    } else {
      weight.decode_rows(begin + r, rows, decoded.data(), stride);
    }
    products.pack({from, rows, cols, stride}, r % width, panels + r / width * panel_floats);
  }
}

// How many panels of depth `cols` `limit` floats hold; at least one.
int64_t fitting_panels(const BlockProducts& products, int64_t cols, int64_t limit) {
  return std::max<int64_t>(limit / products.panel_floats(cols), 1);
}

// x prepared in the scratch of the calling thread, by all threads; null if it is read in place.
const float* prepare_all(const BlockProducts& products, Matrix<const float> x, ThreadPool& pool) {
  if (products.reads_in_place(x)) return nullptr;
  AlignedBuffer<float>& buffer = scratch().left;
  buffer.ensure(floats(prepared_floats(products, x)));
  float* left = buffer.data();
  const int64_t depth = depth_of(products, x.cols);
  const int64_t parts = ceil_div(x.rows, round_up(kPreparedRows, products.cuts.row_unit));
  pool.run(parts, [&](int64_t part, int) {
    const Range rows = rows_of_part(products, x.rows, parts, part);
    for (int64_t k = 0; k < x.cols; k += depth) {
      const LeftBlock block = prepared_block(products, x, left, k, rows);
      products.prepare({x.data + rows.begin * x.stride + k, block.rows, block.depth, x.stride},
                       left + (block.data - left));
    }
  });
  return left;
}

// x is a single block of rows: items are ranges of panels, packed by the thread that uses them.
void multiply_block(const BlockProducts& products, Matrix<const float> x, const RowSource& weight,
                    Matrix<float> y, ThreadPool& pool, bool accumulate) {
  const float* prepared = prepare_all(products, x, pool);
  const int64_t width = products.cuts.panel_cols;
  const int64_t panels = ceil_div(y.cols, width);
  const int64_t fitting = fitting_panels(products, x.cols, kPanelFloats);
  const int64_t items = std::min(panels, std::max(kWantedItems, ceil_div(panels, fitting)));
  pool.run(items, [&](int64_t item, int) {
    const Range range = part_of(panels, items, item);
    const int64_t begin = range.begin * width;
    const int64_t count = std::min(range.end * width, y.cols) - begin;
    AlignedBuffer<float>& packed = scratch().panels;
    packed.ensure(floats((range.end - range.begin) * products.panel_floats(x.cols)));
    pack_rows(products, weight, begin, count, packed.data());
    multiply(products, x, prepared, packed.data(), columns_of(y, begin, count), accumulate);
  });
}

// y (+)= x times one group of panels: rows [begin, begin + y.cols) of `weight`.
void multiply_group(const BlockProducts& products, Matrix<const float> x, const RowSource& weight,
                    int64_t begin, Matrix<float> y, ThreadPool& pool, bool accumulate) {
  const int64_t width = products.cuts.panel_cols;
  const int64_t panel_floats = products.panel_floats(x.cols);
  const int64_t panels = ceil_div(y.cols, width);
  AlignedBuffer<float>& packed = scratch().panels;
  packed.ensure(floats(panels * panel_floats));
  pool.run(panels, [&](int64_t p, int) {
    const int64_t row = p * width;
    pack_rows(products, weight, begin + row, std::min(width, y.cols - row),
              packed.data() + p * panel_floats);
  });
  // An even number of parts, which two threads share evenly.
  const int64_t row_parts = round_up(ceil_div(x.rows, products.cuts.chunk_rows), 2);
  const int64_t panel_parts = std::min(ceil_div(kWantedItems, row_parts), panels);
  pool.run(row_parts * panel_parts, [&](int64_t item, int) {
    const Range rows = rows_of_part(products, x.rows, row_parts, item / panel_parts);
    const Range range = part_of(panels, panel_parts, item % panel_parts);
    const int64_t first = range.begin * width;
    const int64_t count = std::min(range.end * width, y.cols) - first;
    const int64_t height = rows.end - rows.begin;
    multiply(products, {x.data + rows.begin * x.stride, height, x.cols, x.stride}, nullptr,
             packed.data() + range.begin * panel_floats,
             {y.data + rows.begin * y.stride + first, height, count, y.stride}, accumulate);
  });
}

// For kGemmMinRows rows or more.
void matmul_blocks(const BlockProducts& products, Matrix<const float> x, const RowSource& weight,
                   Matrix<float> y, ThreadPool& pool, bool accumulate) {
  if (x.rows <= products.cuts.chunk_rows || x.rows * x.cols <= kBlockFloats) {
    multiply_block(products, x, weight, y, pool, accumulate);
    return;
  }
  const int64_t width = products.cuts.panel_cols;
  const int64_t panels = ceil_div(y.cols, width);
  const int64_t groups =
      ceil_div(panels, fitting_panels(products, x.cols, products.cuts.group_floats));
  for (int64_t g = 0; g < groups; ++g) {
    const Range range = part_of(panels, groups, g);
    const int64_t begin = range.begin * width;
    const Matrix<float> out = columns_of(y, begin, (range.end - range.begin) * width);
    multiply_group(products, x, weight, begin, out, pool, accumulate);
  }
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

std::string_view matmul_arithmetic(Isa isa) { return block_products(isa)->arithmetic(); }

void matmul(Matrix<const float> x, const RowSource& weight, Matrix<float> y, ThreadPool& pool,
            Isa isa, bool accumulate) {
  TWOFOLD_ASSERT(x.cols == weight.cols());
  TWOFOLD_ASSERT(y.rows == x.rows && y.cols == weight.rows());
  if (x.rows == 0 || y.cols == 0) return;
  if (x.rows < kGemmMinRows || x.cols == 0) {
    matmul_few(x, weight, y, pool, ops(isa), accumulate);
    return;
  }
  matmul_blocks(*block_products(isa), x, weight, y, pool, accumulate);
}

}  // namespace twofold

// RowSources over stored tensors: rows as they lie, rows permuted for rope, and columns.
#include <algorithm>
#include <array>

#include "base/checked_math.h"
#include "base/error.h"
#include "io/stored_tensor.h"

namespace twofold {
namespace {

class StoredRows final : public RowSource {
 public:
  StoredRows(StoredTensor tensor, int64_t row_begin, int64_t row_count)
      : tensor_(std::move(tensor)), row_begin_(row_begin), row_count_(row_count) {
    if (!tensor_.type->dtype) return;
    const std::byte* const data =
        tensor_.bytes.data() + row_begin * cols() * tensor_.type->block_bytes;
    // Files without padding after their header hold numbers on odd addresses.
    if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(tensor_.type->block_bytes) != 0)
      return;
    dense_ = DenseView{*tensor_.type->dtype, data, cols()};
  }

  int64_t rows() const override { return row_count_; }
  int64_t cols() const override { return tensor_.shape[1]; }
  const DenseView* dense() const override { return dense_ ? &*dense_ : nullptr; }

  void decode_rows(int64_t begin, int64_t count, float* out, int64_t stride) const override {
    const int64_t width = cols();
    if (stride == width) {
      tensor_.decode((row_begin_ + begin) * width, count * width, out);
      return;
    }
    for (int64_t r = 0; r < count; ++r) {
      tensor_.decode((row_begin_ + begin + r) * width, width, out + r * stride);
    }
  }

 private:
  StoredTensor tensor_;
  int64_t row_begin_;
  int64_t row_count_;
  std::optional<DenseView> dense_;
};

class RopePermutedRows final : public RowSource {
 public:
  RopePermutedRows(StoredTensor tensor, int64_t row_begin, int64_t row_count, int64_t heads)
      : tensor_(std::move(tensor)),
        row_begin_(row_begin),
        row_count_(row_count),
        head_dim_(row_count / heads) {}

  int64_t rows() const override { return row_count_; }
  int64_t cols() const override { return tensor_.shape[1]; }

  void decode_rows(int64_t begin, int64_t count, float* out, int64_t stride) const override {
    const int64_t half = head_dim_ / 2;
    for (int64_t r = begin; r < begin + count; ++r, out += stride) {
      const int64_t in_head = r % head_dim_;
      const int64_t stored = r - in_head + in_head % half * 2 + in_head / half;
      tensor_.decode((row_begin_ + stored) * cols(), cols(), out);
    }
  }

 private:
  StoredTensor tensor_;
  int64_t row_begin_;
  int64_t row_count_;
  int64_t head_dim_;
};

/// Rows of the matrix are columns of the tensor, stored [cols(), all rows].
class StoredColumns final : public RowSource {
 public:
  StoredColumns(StoredTensor tensor, int64_t row_begin, int64_t row_count)
      : tensor_(std::move(tensor)), row_begin_(row_begin), row_count_(row_count) {}

  int64_t rows() const override { return row_count_; }
  int64_t cols() const override { return tensor_.shape[0]; }

  void decode_rows(int64_t begin, int64_t count, float* out, int64_t stride) const override {
    for (int64_t done = 0; done < count; done += kTileRows) {
      const int64_t tile_rows = std::min(kTileRows, count - done);
      for (int64_t col = 0; col < cols(); col += kTileCols) {
        decode_tile(row_begin_ + begin + done, tile_rows, col, std::min(kTileCols, cols() - col),
                    out + done * stride + col, stride);
      }
    }
  }

 private:
  static constexpr int64_t kTileRows = 256;
  static constexpr int64_t kTileCols = 16;   // one cache line of the output
  static constexpr int64_t kMaxBlock = 256;  // largest block_elements with a decoder

  /// Writes `tile_rows` x `tile_cols` numbers: contiguous runs of the tensor, widened to whole
  /// blocks, are decoded and turned.
  void decode_tile(int64_t first_row, int64_t tile_rows, int64_t first_col, int64_t tile_cols,
                   float* out, int64_t stride) const {
    const int64_t block = tensor_.type->block_elements;
    const int64_t run_begin = first_row / block * block;
    const int64_t run = round_up(first_row + tile_rows, block) - run_begin;
    std::array<float, (kTileRows + 2 * kMaxBlock) * kTileCols> scratch;  // [tile_cols, run]
    for (int64_t c = 0; c < tile_cols; ++c) {
      tensor_.decode((first_col + c) * tensor_.shape[1] + run_begin, run, scratch.data() + c * run);
    }
    const float* source = scratch.data() + (first_row - run_begin);
    for (int64_t r = 0; r < tile_rows; ++r) {
      for (int64_t c = 0; c < tile_cols; ++c) out[r * stride + c] = source[c * run + r];
    }
  }

  StoredTensor tensor_;
  int64_t row_begin_;
  int64_t row_count_;
};

}  // namespace

std::unique_ptr<RowSource> make_row_source(const StoredTensor& tensor, const WeightView& view) {
  tensor.require_decodable();
  if (tensor.shape.size() != 2) {
    fail(ErrorCode::kCorruptFile, tensor.where(), "expected a matrix, found shape {}",
         shape_text(tensor.shape));
  }
  const int64_t stored_rows = tensor.shape[view.transposed ? 1 : 0];
  const int64_t row_count = view.row_count < 0 ? stored_rows - view.row_begin : view.row_count;
  if (view.row_begin < 0 || row_count < 0 || view.row_begin > stored_rows - row_count) {
    fail(ErrorCode::kCorruptFile, tensor.where(),
         "expected a matrix with {} outputs from number {} on, found shape {}", row_count,
         view.row_begin, shape_text(tensor.shape));
  }
  if (view.transposed) {
    TWOFOLD_ASSERT(view.rope_permuted_heads == 0 && tensor.type->block_elements <= 256);
    return std::make_unique<StoredColumns>(tensor, view.row_begin, row_count);
  }
  if (view.rope_permuted_heads > 0) {
    if (row_count % (2 * view.rope_permuted_heads) != 0) {
      fail(ErrorCode::kCorruptFile, tensor.where(),
           "expected {} heads of an even number of rows, found {} rows", view.rope_permuted_heads,
           row_count);
    }
    return std::make_unique<RopePermutedRows>(tensor, view.row_begin, row_count,
                                              view.rope_permuted_heads);
  }
  return std::make_unique<StoredRows>(tensor, view.row_begin, row_count);
}

}  // namespace twofold

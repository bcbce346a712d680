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

/// Rows in another order than stored.
class MappedRows final : public RowSource {
 public:
  MappedRows(StoredTensor tensor, const WeightView& view, int64_t row_count)
      : tensor_(std::move(tensor)), view_(view), row_count_(row_count) {}

  int64_t rows() const override { return row_count_; }
  int64_t cols() const override { return tensor_.shape[1]; }

  void decode_rows(int64_t begin, int64_t count, float* out, int64_t stride) const override {
    for (int64_t r = begin; r < begin + count; ++r, out += stride) {
      tensor_.decode(stored_row(view_, row_count_, r) * cols(), cols(), out);
    }
  }

 private:
  StoredTensor tensor_;
  WeightView view_;
  int64_t row_count_;
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

int64_t stored_row(const WeightView& view, int64_t rows, int64_t r) {
  if (view.rope_permuted_heads > 0) {
    const int64_t head = rows / view.rope_permuted_heads, in_head = r % head;
    return view.row_begin + r - in_head + in_head % (head / 2) * 2 + in_head / (head / 2);
  }
  if (view.row_block > 0) {
    return view.row_begin + r / view.row_block * view.row_stride + r % view.row_block;
  }
  return view.row_begin + r;
}

namespace {

/// One matrix of a tensor [experts, out, in].
StoredTensor expert_of(const StoredTensor& tensor, int64_t expert) {
  if (tensor.shape.size() != 3 || expert >= tensor.shape[0]) {
    fail(ErrorCode::kCorruptFile, tensor.where(), "expected a matrix for expert {}, found shape {}",
         expert, shape_text(tensor.shape));
  }
  StoredTensor matrix = tensor;
  const size_t bytes = tensor.bytes.size() / static_cast<size_t>(tensor.shape[0]);
  matrix.shape = {tensor.shape[1], tensor.shape[2]};
  matrix.bytes = tensor.bytes.subspan(bytes * static_cast<size_t>(expert), bytes);
  return matrix;
}

}  // namespace

std::unique_ptr<RowSource> make_row_source(const StoredTensor& tensor, const WeightView& view) {
  if (view.expert >= 0) {
    WeightView in_matrix = view;
    in_matrix.expert = -1;
    return make_row_source(expert_of(tensor, view.expert), in_matrix);
  }
  tensor.require_decodable();
  if (tensor.shape.size() != 2) {
    fail(ErrorCode::kCorruptFile, tensor.where(), "expected a matrix, found shape {}",
         shape_text(tensor.shape));
  }
  const int64_t stored_rows = tensor.shape[view.transposed ? 1 : 0];
  const int64_t row_count = view.row_count < 0 ? stored_rows - view.row_begin : view.row_count;
  const bool runs_fit = view.row_block == 0 || row_count <= 0 ||
                        stored_row(view, row_count, row_count - 1) < stored_rows;
  if (view.row_begin < 0 || row_count < 0 || view.row_begin > stored_rows - row_count ||
      !runs_fit) {
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
    return std::make_unique<MappedRows>(tensor, view, row_count);
  }
  if (view.row_block > 0) return std::make_unique<MappedRows>(tensor, view, row_count);
  return std::make_unique<StoredRows>(tensor, view.row_begin, row_count);
}

}  // namespace twofold

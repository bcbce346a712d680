// StoredTensor: one tensor as it lies in a checkpoint file, with a decoder for its rows. The stored
// types are the dense 16 and 32 bit floats and the block types of ggml.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tensor/row_source.h"
#include "tensor/tensor.h"

namespace twofold {

/// A stored element type: dense, or blocks of `block_elements` numbers in `block_bytes`.
struct StoredType {
  std::string_view name;       // "F16", "Q4_K"
  int32_t ggml_id;             // number in GGUF files; -1 if none
  std::optional<DType> dtype;  // set for dense types
  int64_t block_elements;      // 1 for dense types
  int64_t block_bytes;
  /// Decodes whole blocks, without any need of alignment; null for dense types other than F32, F16,
  /// BF16 and for refused types.
  void (*decode)(const std::byte* blocks, int64_t block_count, float* out);
};

/// Every type GGUF names; those with a null `decode` are recognized and refused.
std::span<const StoredType> all_stored_types();
const StoredType* find_ggml_type(int32_t ggml_id);
/// The row of `all_stored_types` for a dense type. @throws Error(kUnsupported) if there is none.
const StoredType& stored_type_of(DType dtype);

struct StoredTensor {
  std::string name;  // as in the file
  const StoredType* type = nullptr;
  Shape shape;  // row-major, slowest first, as in safetensors
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
  std::string file;  // for messages

  int64_t elements() const;
  /// "<file>: tensor <name>", for messages.
  std::string where() const;
  /// @throws Error(kUnsupported) naming file, tensor and type, and listing the types with a
  /// decoder.
  void require_decodable() const;
  /// Decodes elements [begin, begin + count) in row-major order; both multiples of block_elements.
  /// @param out [count]. @throws Error(kUnsupported) as `require_decodable`.
  void decode(int64_t begin, int64_t count, float* out) const;
};

/// Bytes that a tensor of this type and shape takes. @throws Error(kCorruptFile) naming `where` if
/// rows are not whole blocks or the size overflows.
int64_t stored_bytes(const StoredType& type, const Shape& shape, std::string_view where);

/// How a weight matrix [out, in], or a vector [out], is cut out of a stored tensor. Row r of the
/// matrix is stored row row_begin + r, or stored column row_begin + r if `transposed`.
struct WeightView {
  bool transposed = false;  // stored [in, out] (GPT-2's Conv1D)
  int64_t row_begin = 0;    // first output row of a fused tensor
  int64_t row_count = -1;   // -1: all
  /// GGUF files of Llama, and llama2.c, hold the rows of q and k permuted within each head so that
  /// rope turns neighbouring rows; > 0 undoes this for that many heads: with head_dim = rows /
  /// heads, row h head_dim + p head_dim / 2 + i (p = 0, 1) is stored row h head_dim + 2 i + p. Not
  /// together with `transposed`.
  int64_t rope_permuted_heads = 0;
  /// > 0: runs of row_block rows of the matrix lie row_stride apart: row r is stored row row_begin
  /// + r / row_block * row_stride + r % row_block. Not together with the two above.
  int64_t row_block = 0, row_stride = 0;
  /// One of the matrices of a tensor [experts, out, in].
  int64_t expert = -1;
};

/// The stored row of row `r` of a matrix of `rows` rows, whatever `transposed`.
int64_t stored_row(const WeightView& view, int64_t rows, int64_t r);

/// A two-dimensional stored tensor as a RowSource (holds the mapping alive).
/// @throws Error(kCorruptFile) if it is not two-dimensional or the view exceeds it;
/// Error(kUnsupported) if its type has no decoder.
std::unique_ptr<RowSource> make_row_source(const StoredTensor& tensor, const WeightView& view = {});

}  // namespace twofold

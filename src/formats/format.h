// Format: a byte layout of a matrix, whose name says it. Packed formats use R16 tiles: blocks of 16
// rows, 64-byte lines of 16 rows x 4 bytes, a 32-bit lane belongs to one row (docs/formats.md).
//
//   f32, f16, bf16            dense, row-major
//   r16-u4-g128               affine, 4-bit codes, stored integer zero, groups of 128 columns
//   r16-s4, r16-c2, r16-zf3   zero fixed at 2^(b-1), at (2^b - 1)/2, stored as binary16
//   r16-t4                    one table of levels for the matrix, a scale per row
//   r16-rt3                   a table per row
//   suffixes: none = a scale per row, -gN = per group of N columns, -m = one for the matrix;
//   a table of 16-bit levels ends in w ("r16-t5w"), of float levels in f ("r16-t6f").
//   rt has int8 levels, scale and offset per row, or all three per group (-gN).
//   r16-b3                    bit planes: the values of rt whose levels are sums of signs x
//   integers
//   r16-tr2, r16-tr2s         trellis, windows of 12 bits and of 6; a scale per row
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "quant/quantized_matrix.h"
#include "tensor/row_source.h"
#include "tensor/tensor.h"

namespace twofold {

struct FormatFamily;

/// A format with its parameters. Small, copyable; compare by name.
struct Format {
  std::string name;
  const FormatFamily* family = nullptr;
  Scheme scheme;              // packed formats; level_exponent is data, not part of the format
  DType dtype = DType::kF32;  // dense formats
  bool is_dense() const;
};

struct PackedMatrix {
  Format format;
  int64_t rows = 0, cols = 0;
  Tensor bytes;  // one blob, 64-byte aligned when mapped from our own files
};

/// Bytes of a stored matrix by what they hold.
struct ByteKinds {
  int64_t numbers = 0;  // of a matrix that is not packed, blocks of GGUF files included
  int64_t codes = 0;    // a last byte that they fill in part included
  int64_t scales = 0;   // of rows, groups or the matrix
  int64_t zeros = 0;    // stored ones
  int64_t offsets = 0;
  int64_t tables = 0;      // levels, integers of planes, their exponent; mixing and checksum
  int64_t transforms = 0;  // vectors beside the blob; signs and factors are stored as seeds
  int64_t padding = 0;     // of rows, columns and lines
  int64_t sum() const;
  void add(const ByteKinds& other);
};
struct ByteKind {
  std::string_view name;
  int64_t ByteKinds::*bytes;
};
/// The members of ByteKinds with their names.
std::span<const ByteKind> all_byte_kinds();

/// One layout family: a row of the registry.
struct FormatFamily {
  std::string_view name, help;
  bool dense;
  /// Fills `format` if `name` belongs to this family; false otherwise.
  bool (*parse)(std::string_view name, Format& format);
  /// The name for a scheme this family can hold; empty if it cannot.
  std::string (*name_for)(const Scheme& scheme);
  /// Bytes of the blob. @throws Error(kCorruptFile) on overflow.
  int64_t (*packed_bytes)(const Format& format, int64_t rows, int64_t cols);
  /// Those bytes by kind; their sum is packed_bytes.
  ByteKinds (*byte_kinds)(const Format& format, int64_t rows, int64_t cols);
  /// Writes the blob; `out` has packed_bytes bytes, fully written (padding is zero).
  /// Blocks of rows are shared among the threads of `pool`.
  void (*pack)(const Format& format, const QuantizedMatrix& q, std::span<std::byte> out,
               ThreadPool& pool);
  /// The quantized matrix, transform "none" (transforms are stored beside the blob).
  QuantizedMatrix (*unpack)(const PackedMatrix& packed);
  /// One row in float32, out [cols]; equals `dequantize` bit for bit. Slow and obvious.
  void (*decode_row)(const PackedMatrix& packed, int64_t row, float* out);
  /// Rows [begin, begin + count) in float32, out [count, cols], `stride` elements between rows;
  /// equals `decode_row` bit for bit. Fast; thread-safe; blocks of 16 rows are read at once.
  void (*decode_rows)(const PackedMatrix& packed, int64_t begin, int64_t count, float* out,
                      int64_t stride);
  /// Checks scales, tables and lengths of untrusted bytes, not every code.
  /// @throws Error(kCorruptFile) naming `where` and what was found.
  void (*check)(const PackedMatrix& packed, std::string_view where);
  /// Names that stand for this family in documentation and in the laws: every bits x sharing.
  std::vector<std::string> (*example_names)();
};

std::span<const FormatFamily> all_format_families();
/// @throws Error(kInvalidArgument) naming the text and how format names are built.
Format parse_format(std::string_view name);
/// The format that holds a scheme. @throws Error(kInvalidArgument) if none does.
Format format_for(const Scheme& scheme);

int64_t packed_bytes(const Format& format, int64_t rows, int64_t cols);
/// The same by kind. @throws as packed_bytes.
ByteKinds byte_kinds(const Format& format, int64_t rows, int64_t cols);
/// Packs into the format of the scheme. The transform is not part of the blob.
/// @throws Error(kInvalidArgument) if no format holds the scheme, Error(kInternal) as `validate`.
PackedMatrix pack(const QuantizedMatrix& q, ThreadPool& pool);
PackedMatrix pack(const QuantizedMatrix& q);  // by the calling thread alone
/// A blob for a matrix [rows, cols] of a packed format, to be filled by `put_rows`.
PackedMatrix new_packed(const Format& format, int64_t rows, int64_t cols);
/// Copies `part`, which holds rows [begin, begin + part.rows) of `whole` and has the same number of
/// columns, to its place. Blocks of 16 rows are copied whole: `begin` is a multiple of 16, and so
/// are part.rows unless they are the last ones. What belongs to the whole matrix comes from the
/// part that begins at 0. Thread-safe for disjoint rows.
void put_rows(const PackedMatrix& part, int64_t begin, PackedMatrix& whole);
/// A copy of the first `rows` rows of a packed matrix: a multiple of 16, or all.
PackedMatrix first_rows(const PackedMatrix& whole, int64_t rows);
/// Dense pack: rows of float32 stored as f32, f16 or bf16.
PackedMatrix pack_dense(const Format& format, Matrix<const float> weight);
/// @throws Error(kInvalidArgument) for a dense format, Error(kCorruptFile) as `check_packed`.
QuantizedMatrix unpack(const PackedMatrix& packed);
/// A packed matrix over bytes of a file, checked. @throws Error(kCorruptFile) naming `where`.
PackedMatrix open_packed(const Format& format, int64_t rows, int64_t cols, Tensor bytes,
                         std::string_view where);
/// Reads the rows of a packed matrix; keeps its bytes alive.
std::unique_ptr<RowSource> make_row_source(const PackedMatrix& packed);
/// True bits per weight: 8 x bytes of the blob / (rows x cols).
double bits_per_weight(const PackedMatrix& packed);

}  // namespace twofold

// Geometry of the R16 tile (docs/formats.md): where the bits of a code and the parameters of a row
// lie in the blob of a packed matrix. Knows offsets only; reads and writes no bytes.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "formats/format.h"

namespace twofold {

static_assert(std::endian::native == std::endian::little, "packed formats are little-endian");

constexpr int64_t kBlockRows = 16;
constexpr int64_t kLineBytes = 64;  // 16 rows x 4 bytes
/// Bytes of the tail before its levels: scale f32, zero f32, level exponent i32, 0.
constexpr int64_t kTailHeaderBytes = 16;

/// After the header and the levels of a trellis: mixing, window, a byte of zero, CRC-32 of the tail
/// before it.
constexpr int64_t kTrellisMixingAt = kTailHeaderBytes + kTrellisLevels;
constexpr int64_t kTrellisWindowAt = kTrellisMixingAt + kTrellisIndexBits;
constexpr int64_t kTrellisSumAt = kTrellisWindowAt + 2;
constexpr int64_t kTrellisTailBytes = kTrellisSumAt + 4;

/// Columns of a step of a trellis, two tiles, and those whose `bits` bytes of stream lie in byte c
/// of the lanes of the step's `bits` lines.
constexpr int64_t kTrellisStep = 2 * kTrellisTile;
constexpr int64_t kTrellisRun = 8;

/// Some bits of each code, on lines of their own.
struct R16Field {
  int width;      // 8, 4, 2 or 1 bits; of planes 2 (a pair) or 1
  int shift;      // of the field's bits in the code
  int64_t span;   // columns of a line: 32 / width
  int64_t first;  // first line within a step
};

/// A code of 2 to 8 bits as fields, lowest bits first, and the columns of a step: the span of the
/// narrowest field.
struct R16Code {
  std::array<R16Field, 3> field{};
  int fields = 0;
  int64_t step = 0;
  int64_t step_lines = 0;
  bool planes = false;  // nibbles of bits of one plane
};
/// @param planes 1 to 4 bits, in pairs of planes and a single one; else 2 to 8 bits.
R16Code r16_code(int bits, bool planes);
/// A trellis has no fields: step and lines only.
R16Code r16_trellis_code(int bits);

/// Offsets in bytes for one format and shape; those inside a block count from its start.
struct R16Layout {
  R16Code code;
  int64_t rows = 0, cols = 0;
  int64_t group = 0;        // columns per group; cols without groups
  int64_t groups = 0;       // groups per row
  int64_t group_bytes = 0;  // code lines of a full group
  int64_t scale_sets = 0;   // per row: groups, 1, or 0 if the matrix has one scale
  int64_t table_sets = 0;   // per row: groups, 1, or 0 if the matrix has one table
  int64_t scales_at = 0, zeros_at = 0, offsets_at = 0, tables_at = 0;
  int64_t zero_bytes = 0;    // of one stored zero in a block: 0, 1 or 2
  int64_t offset_bytes = 0;  // of one offset: 0 or 2
  int64_t level_bytes = 0;   // of one level
  int64_t table_bytes = 0;   // of one table: its levels, or the integers of its planes
  int64_t block_bytes = 0, blocks = 0;
  int64_t tail_at = 0, tail_bytes = 0, total_bytes = 0;

  int64_t group_cols(int64_t g) const { return std::min(group, cols - g * group); }
};

/// @throws Error(kCorruptFile) if the bytes do not fit the address space or a side is not positive.
R16Layout r16_layout(const Scheme& scheme, int64_t rows, int64_t cols, std::string_view where);
/// The bytes of that layout by what they hold; padding is what no number of the matrix takes.
/// @throws Error(kCorruptFile) on overflow.
ByteKinds r16_byte_kinds(const Scheme& scheme, const R16Layout& layout, std::string_view where);

}  // namespace twofold

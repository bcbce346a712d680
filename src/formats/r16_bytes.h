// Reading and writing the pieces of an R16 blob at the offsets of r16_layout.h. Blobs of foreign
// files may be unaligned, so every access goes through memcpy.
#pragma once

#include <cstring>

#include "base/float16.h"
#include "formats/r16_layout.h"

namespace twofold {

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <class T>
void store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof(T));
}

/// The bit of plane `plane` (0 or 1 within the field) of column `in_line` of a line of planes, as a
/// place in the 32-bit lane of a row. A pair: byte j holds columns 4 j to 4 j + 3, the first plane
/// in its low half. A single plane: the low halves hold columns 0 to 15, the high ones 16 to 31.
inline int plane_bit(const R16Field& field, int plane, int64_t in_line) {
  const int64_t half = field.width == 2 ? plane : in_line / 16;
  return static_cast<int>(in_line % 16 / 4 * 8 + half * 4 + in_line % 4);
}

/// Offset, within the code lines of a group, of the byte that holds a field of the code of (row
/// in block, column in group), and the shift of the field in that byte.
struct R16Place {
  int64_t byte;
  int shift;
};
inline R16Place r16_place(const R16Code& code, const R16Field& field, int64_t row, int64_t col) {
  const int64_t in_step = col % code.step;
  const int64_t line = col / code.step * code.step_lines + field.first + in_step / field.span;
  const int64_t in_line = in_step % field.span;
  return {line * kLineBytes + row * 4 + in_line % 4, static_cast<int>(in_line / 4) * field.width};
}

/// A binary16 parameter of set `set` (group or 0) of a row, from the array at `at`.
inline float load_f16(const std::byte* block, int64_t at, int64_t set, int64_t row) {
  return to_float(Float16{load<uint16_t>(block + at + (set * kBlockRows + row) * 2)});
}

inline float load_level(const std::byte* from, LevelType type) {
  switch (type) {
    case LevelType::kInt8:
      return static_cast<float>(load<int8_t>(from));
    case LevelType::kInt16:
      return static_cast<float>(load<int16_t>(from));
    case LevelType::kFloat32:
      return load<float>(from);
  }
  return 0;
}

/// The levels of a table as numbers. @param levels out, [2^bits].
inline void load_table(const Scheme& scheme, const std::byte* from, float* levels) {
  const int count = 1 << scheme.bits;
  if (!scheme.planes) {
    const int64_t bytes = scheme.level_type == LevelType::kInt8    ? 1
                          : scheme.level_type == LevelType::kInt16 ? 2
                                                                   : 4;
    for (int i = 0; i < count; ++i) levels[i] = load_level(from + i * bytes, scheme.level_type);
    return;
  }
  for (int code = 0; code < count; ++code) {
    int sum = 0;
    for (int p = 0; p < scheme.bits; ++p) {
      const int n = load<int8_t>(from + p);
      sum += (code >> p & 1) != 0 ? n : -n;
    }
    levels[code] = static_cast<float>(sum);
  }
}

/// The tail of a blob: what belongs to the whole matrix.
struct R16Tail {
  float scale = 1, zero = 0;
  int32_t level_exponent = 0;
};
inline R16Tail load_tail(const R16Layout& layout, const std::byte* blob) {
  if (layout.tail_bytes == 0) return {};
  const std::byte* tail = blob + layout.tail_at;
  return {load<float>(tail), load<float>(tail + 4), load<int32_t>(tail + 8)};
}

/// The stored zero of set `set` of a row in a block; only for formats that store one.
inline float load_zero(const R16Layout& layout, const std::byte* block, int64_t set, int64_t row) {
  if (layout.zero_bytes == 2) return load_f16(block, layout.zeros_at, set, row);
  return static_cast<float>(load<uint8_t>(block + layout.zeros_at + set * kBlockRows + row));
}

/// Where the levels of set `set` of a row begin: in its block, or in the tail.
inline const std::byte* levels_of(const R16Layout& layout, const std::byte* blob,
                                  const std::byte* block, int64_t set, int64_t row) {
  if (layout.table_sets == 0) return blob + layout.tail_at + kTailHeaderBytes;
  return block + layout.tables_at + (set * kBlockRows + row) * layout.table_bytes;
}

}  // namespace twofold

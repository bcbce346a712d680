// Internal to kernels/avx2 and kernels/avx512: from the lines of a packed block of 16 rows to
// bytes, kVectorRows rows x 4 columns to a vector, and the parameters of these rows. Written over
// the vocabulary of <isa>/vec.h, which the including file brings along.
//
// Products of bytes are added in pairs to 16 bits. Affine codes up to 7 bits are small enough for
// that: two products of at most 127 x 127 fit, and with fewer bits sums of several such pairs do.
// Everything else gives signed bytes, which are multiplied as 16-bit numbers (kWide).
#pragma once

#include "kernels/kernel.h"

namespace {

using twofold::Int8Rows;
using twofold::MatmulArgs;
using twofold::PackedView;

constexpr int kLineBytes = 64;
constexpr int kLineVectors = kLineBytes / kVectorBytes;

/// Columns and lines of a step: those of r16_code.
constexpr int kStepColumns[] = {0, 0, 16, 32, 8, 32, 16, 32, 4};
constexpr int kStepLines[] = {0, 0, 1, 3, 1, 5, 3, 7, 1};

/// Bits [kWidth p, kWidth p + kWidth) of every byte, moved to bit kTo, of the field that starts at
/// `lines`; j counts columns by four.
template <int kWidth, int kTo>
TWOFOLD_INLINE Ints field(const uint8_t* lines, int j) {
  const Ints line = load_bytes(lines + j * kWidth / 8 * kLineBytes);
  const int by = kWidth * (j % (8 / kWidth)) - kTo;
  const Ints moved = by == 0 ? line : by > 0 ? right_16(line, by) : left_16(line, -by);
  return and_bits(moved, set_8(((1 << kWidth) - 1) << kTo));
}

/// Codes of kBits bits in fields of 8, 4, 2 and 1, lowest first.
template <int kBits>
struct Codes {
  static constexpr int kColumns = kStepColumns[kBits];
  static constexpr int kStepBytes = kStepLines[kBits] * kLineBytes;

  TWOFOLD_INLINE Ints at(const uint8_t* step, int j) {
    if constexpr (kBits == 8) {
      return load_bytes(step);
    } else if constexpr (kBits == 2 || kBits == 4) {
      return field<kBits, 0>(step, j);
    } else if constexpr (kBits == 3) {
      return or_bits(field<2, 0>(step, j), field<1, 2>(step + 128, j));
    } else if constexpr (kBits == 5) {
      return or_bits(field<4, 0>(step, j), field<1, 4>(step + 256, j));
    } else if constexpr (kBits == 6) {
      return or_bits(field<4, 0>(step, j), field<2, 4>(step + 128, j));
    } else {
      return or_bits(or_bits(field<4, 0>(step, j), field<2, 4>(step + 256, j)),
                     field<1, 6>(step + 384, j));
    }
  }
};

/// Sums of pairs of products with bytes up to `largest` that fit 16 bits: 8, 4, 2, 1 or 0.
constexpr int sums_in_16_bits(int largest) {
  int sums = 8;
  while (sums * 2 * 127 * largest > INT16_MAX) sums /= 2;
  return sums;
}

/// What bytes stand for, signed or not: offset + unit byte. 16-bit sums are multiplied by the unit
/// where they are widened, which costs nothing.
struct Meaning {
  int32_t offset = 0;
  int unit = 1;
};
TWOFOLD_INLINE Meaning less_bias(const PackedView& w) {
  return {.offset = -static_cast<int32_t>(w.bias)};
}

/// `count` levels as offset + unit byte: the offset the lowest, the unit what divides all
/// differences.
struct LevelBytes {
  Meaning meaning;
  int largest = 0;  // byte
};
inline LevelBytes level_bytes(const uint8_t* levels, int count) {
  LevelBytes out;
  int lowest = 127, highest = -128, divisor = 0;
  for (int i = 0; i < count; ++i) {
    const int level = static_cast<int8_t>(levels[i]);
    lowest = level < lowest ? level : lowest;
    highest = level > highest ? level : highest;
  }
  for (int i = 0; i < count; ++i) {
    int rest = static_cast<int8_t>(levels[i]) - lowest;
    while (rest != 0) {
      const int smaller = divisor % rest;
      divisor = rest;
      rest = smaller;
    }
  }
  out.meaning = {.offset = lowest, .unit = divisor == 0 ? 1 : divisor};
  out.largest = (highest - lowest) / out.meaning.unit;
  return out;
}
inline uint8_t byte_of(uint8_t level, const Meaning& meaning) {
  return static_cast<uint8_t>((static_cast<int8_t>(level) - meaning.offset) / meaning.unit);
}

/// Affine, up to 7 bits: the code itself.
template <int kBits>
struct AffineValues : Codes<kBits> {
  static constexpr bool kWide = false;
  static constexpr int kSums = sums_in_16_bits((1 << kBits) - 1);
  static_assert(kSums >= 1);
  void load_matrix(const PackedView&) {}
  void load_group(const PackedView&, const uint8_t*, int64_t, int) {}
  Meaning meaning(const PackedView& w) const { return less_bias(w); }
  [[gnu::always_inline]] inline Ints value(const uint8_t* step, int j) const {
    return Codes<kBits>::at(step, j);
  }
};

/// 8 bits: the code less its bias of 128.
template <>
struct AffineValues<8> : Codes<8> {
  static constexpr bool kWide = true;
  void load_matrix(const PackedView&) {}
  void load_group(const PackedView&, const uint8_t*, int64_t, int) {}
  [[gnu::always_inline]] inline Ints value(const uint8_t* step, int j) const {
    return xor_bits(Codes<8>::at(step, j), set_8(0x80));
  }
};

/// Entries 16 i to 16 i + 15 of a long table, less (exclusive or) the 16 before them: the parts
/// that an index reaches, that is all up to its own, then give its entry by exclusive or.
template <int kParts>
TWOFOLD_INLINE void keep_differences(Ints (&parts)[kParts]) {
#pragma GCC unroll 16
  for (int i = kParts - 1; i > 0; --i) parts[i] = xor_bits(parts[i], parts[i - 1]);
}
/// Of 16 kParts entries, at most 128, that of each index; 0 for negative indexes.
template <int kParts>
TWOFOLD_INLINE Ints look_up_long(const Ints* parts, Ints index) {
  const Ints next = set_8(16);
  Ints out = look_up(parts[0], index);
  int i = 1;
#pragma GCC unroll 4
  for (; i + 1 < kParts; i += 2) {
    const Ints second = subtract_saturated_8(index, next);
    index = subtract_saturated_8(second, next);
    out = xor_bits(out, look_up(parts[i], second), look_up(parts[i + 1], index));
  }
  if (i < kParts) out = xor_bits(out, look_up(parts[i], subtract_saturated_8(index, next)));
  return out;
}

/// One table of int8 levels for the matrix, 2 to 8 bits.
template <int kBits>
struct TableValues : Codes<kBits> {
  static constexpr bool kWide = true;
  static constexpr int kLevels = 1 << kBits;
  static constexpr int kParts = kBits <= 4 ? 1 : 1 << (kBits - 4);
  static constexpr int kHalf = kParts < 8 ? kParts : 8;  // indexes are signed bytes
  Ints low[kHalf], high[kHalf];

  void load_matrix(const PackedView& w, const Meaning& meaning = {}) {
    constexpr int kEntries = kBits < 4 ? 16 : kLevels;
    uint8_t levels[kEntries];
    for (int i = 0; i < kEntries; ++i) levels[i] = byte_of(w.shared_table[i % kLevels], meaning);
    for (int i = 0; i < kHalf; ++i) low[i] = load_lanes(levels + 16 * i, 0);
    keep_differences(low);
    if constexpr (kBits == 8) {
      for (int i = 0; i < kHalf; ++i) high[i] = load_lanes(levels + 128 + 16 * i, 0);
      keep_differences(high);
    }
  }
  void load_group(const PackedView&, const uint8_t*, int64_t, int) {}
  [[gnu::always_inline]] inline Ints value(const uint8_t* step, int j) const {
    const Ints code = Codes<kBits>::at(step, j);
    const Ints found = look_up_long<kHalf>(low, code);
    if constexpr (kBits < 8) return found;
    return xor_bits(found, look_up_long<kHalf>(high, xor_bits(code, set_8(0x80))));
  }
};

/// A table of int8 levels for each row or group, 2 to 6 bits. A 128-bit lane of codes belongs to
/// four rows, so that their tables are spread over 1, 2, 4, 8 or 16 vectors.
template <int kBits>
struct RowTableValues : Codes<kBits> {
  static constexpr bool kWide = true;
  static constexpr int kVectors = 1 << (kBits - 2);
  static constexpr int kParts = kBits <= 4 ? 1 : 1 << (kBits - 4);  // vectors of one table
  static constexpr int kRows = kBits >= 4 ? 1 : 1 << (4 - kBits);   // tables of a vector
  Ints table[kVectors / kParts][kParts];
  Ints rows;

  void load_matrix(const PackedView&) {
    rows =
        multiply_low_32(and_bits(rows_of_lanes(), set_32(kRows - 1)), set_32(0x01010101 << kBits));
  }
  void load_group(const PackedView& w, const uint8_t* block, int64_t g, int part) {
    const uint8_t* from =
        block + w.tables_at + (((w.table_sets > 1 ? g : 0) * 16 + part * kVectorRows) << kBits);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors / kParts; ++i) {
#pragma GCC unroll 4
      for (int p = 0; p < kParts; ++p) {
        table[i][p] = load_lanes(from + 16 * (i * kParts + p), 4 << kBits);
      }
      keep_differences(table[i]);
    }
  }
  [[gnu::always_inline]] inline Ints value(const uint8_t* step, int j) const {
    Ints index = Codes<kBits>::at(step, j);
    if constexpr (kRows > 1) index = or_bits(index, rows);
    Ints out = look_up_long<kParts>(table[0], index);
    if constexpr (kBits == 3) out = blend_rows<0xC>(out, look_up(table[1][0], index));
    if constexpr (kBits >= 4) {
      out = blend_rows<0x2>(out, look_up_long<kParts>(table[1], index));
      const Ints last = blend_rows<0x8>(look_up_long<kParts>(table[2], index),
                                        look_up_long<kParts>(table[3], index));
      out = blend_rows<0xC>(out, last);
    }
    return out;
  }
};

/// a and b of the rows of a vector: y += a S + b X.
struct Scales {
  Floats a, b;
};
/// @param part of the block, 0 or 1 where a vector holds half of its rows.
TWOFOLD_INLINE Scales load_scales(const PackedView& w, const uint8_t* block, int64_t g, int part) {
  const int64_t row = (w.scale_sets > 1 ? g * 16 : 0) + part * kVectorRows;
  Scales out;
  const Floats stored =
      w.scale_sets == 0 ? set_float(w.matrix_scale) : load_halfs(block + w.scales_at + row * 2);
  out.a = multiply(stored, set_float(w.power));
  if (w.kind.values != twofold::WeightValues::kAffine) {
    out.b = w.has_offset ? load_halfs(block + w.offsets_at + row * 2) : zero_floats();
    return out;
  }
  Floats zero = set_float(w.fixed_zero);
  if (w.zero_bytes == 2) zero = load_halfs(block + w.zeros_at + row * 2);
  if (w.zero_bytes == 1) zero = load_unsigned_bytes(block + w.zeros_at + row);
  out.b = subtract(zero_floats(), multiply(out.a, subtract(zero, set_float(w.bias))));
  return out;
}

/// Four columns of one row of activations, or two as 16-bit numbers, in all rows.
TWOFOLD_INLINE Ints four_columns(const void* x) {
  int32_t bits;
  __builtin_memcpy(&bits, x, 4);
  return set_32(bits);
}

/// Activations as 16-bit numbers: at byte c of a row, `even` holds columns c and c + 2, `odd`
/// columns c + 1 and c + 3, for every c that is a multiple of 4.
struct WideRows {
  const uint8_t* even;  // [rows, stride]
  const uint8_t* odd;   // [rows, stride]
  int64_t stride;
};
/// An odd number of lines, so that the same columns of many rows lie in different sets of a cache.
constexpr int64_t wide_stride(int64_t stride) { return stride | kLineBytes; }
constexpr int64_t wide_bytes(int64_t rows, int64_t stride) {
  return 2 * rows * wide_stride(stride);
}
TWOFOLD_INLINE WideRows widen_rows(const Int8Rows& x, int64_t rows, uint8_t* scratch) {
  const int64_t stride = wide_stride(x.stride);
  uint8_t* odd = scratch + rows * stride;
  for (int64_t i = 0; i < rows; ++i) {
    const int8_t* from = x.values + i * x.stride;
    for (int64_t c = 0; c < x.stride; c += kVectorBytes) {
      const Ints bytes = load_bytes(from + c);
      store_bytes(scratch + i * stride + c, arithmetic_right_16(left_16(bytes, 8), 8));
      store_bytes(odd + i * stride + c, arithmetic_right_16(bytes, 8));
    }
  }
  return {scratch, odd, stride};
}

/// Signed bytes as 16-bit numbers, times 256.
TWOFOLD_INLINE Ints even_columns(Ints bytes) { return left_16(bytes, 8); }
TWOFOLD_INLINE Ints odd_columns(Ints bytes) { return and_bits(bytes, set_16(0xFF00)); }
constexpr int kWideShift = 8;

}  // namespace

// Internal to kernels/avx2 and kernels/avx512: lines of a trellis (docs/formats.md). The index of a
// window is a product over GF(2) with the bits of two to four nibbles of the stream: an exclusive
// or of entries of tables of 16.
#pragma once

#include "kernels/pairs/weights.h"

namespace {

/// Values of a trellis. `value(step, j)` are the columns j, j + 8, j + 16 and j + 24 of the step.
template <int kBits, int kWindow>
struct TrellisValues {
  static constexpr int kColumns = 32;
  static constexpr int kStepBytes = kBits * kLineBytes;
  static constexpr bool kWide = true;
  /// Bit 0 of a nibble is bit -kMostBefore to kWindow - 1 of a window.
  static constexpr int kMostBefore = 3;
  static constexpr int kParts = 4;  // of the table of 64 levels

  Ints levels[kParts];
  Ints products[kMostBefore + kWindow];  // of nibbles, by their bit 0 in the window
  int last_row = 0;                      // of a vector: where the row after it is, in bytes

  void load_matrix(const PackedView& w) {
    for (int i = 0; i < kParts; ++i) levels[i] = load_lanes(w.shared_table + 16 * i, 0);
    keep_differences(levels);
    for (int first = -kMostBefore; first < kWindow; ++first) {
      uint8_t entries[16] = {};
      for (int nibble = 0; nibble < 16; ++nibble) {
        for (int bit = 0; bit < 4; ++bit) {
          if ((nibble >> bit & 1) != 0) entries[nibble] ^= index_of_bit(w, first + bit);
        }
      }
      products[first + kMostBefore] = load_lanes(entries, 0);
    }
  }
  void load_group(const PackedView&, const uint8_t*, int64_t, int part) {
    last_row = part == 0 ? kVectorBytes : -kVectorBytes;
  }

  /// Byte kByte of the stream from each run of eight columns on: run 2 r + i mod 2 of tile i / 2
  /// is byte i of the lane of row r.
  template <int kByte>
  [[gnu::always_inline]] inline Ints stream(const uint8_t* step) const {
    const uint8_t* line = step + kByte % kBits * kLineBytes;
    if constexpr (kByte < kBits) {
      return load_bytes(line);
    } else {
      const Ints next = load_next_rows(line, last_row);
      if constexpr (kByte / kBits == 2) return next;
      return or_bits(right_16(load_bytes(line), 8), left_16(next, 8));
    }
  }
  template <int kNibble>
  [[gnu::always_inline]] inline Ints nibble(const uint8_t* step) const {
    const Ints bytes = stream<kNibble / 2>(step);
    return and_bits(kNibble % 2 == 0 ? bytes : right_16(bytes, 4), set_8(15));
  }
  /// What nibbles kNibble and on add to the index of the window of column kColumn of each run.
  template <int kColumn, int kNibble>
  [[gnu::always_inline]] inline Ints index(const uint8_t* step) const {
    constexpr int kFirst = 4 * kNibble - kBits * kColumn;
    const Ints own = look_up(products[kFirst + kMostBefore], nibble<kNibble>(step));
    if constexpr (kFirst + 4 < kWindow) {
      return xor_bits(own, index<kColumn, kNibble + 1>(step));
    } else {
      return own;
    }
  }
  template <int kColumn>
  [[gnu::always_inline]] inline Ints column(const uint8_t* step) const {
    return look_up_long<kParts>(levels, index<kColumn, kBits * kColumn / 4>(step));
  }
  [[gnu::always_inline]] inline Ints value(const uint8_t* step, int j) const {
    switch (j) {
      case 0:
        return column<0>(step);
      case 1:
        return column<1>(step);
      case 2:
        return column<2>(step);
      case 3:
        return column<3>(step);
      case 4:
        return column<4>(step);
      case 5:
        return column<5>(step);
      case 6:
        return column<6>(step);
      default:
        return column<7>(step);
    }
  }

  /// Columns 4 j to 4 j + 3 to vector j: two transpositions of 4 x 4 bytes in each lane.
  [[gnu::always_inline]] inline void unpack(const uint8_t* step, Ints (&out)[8]) const {
    const Ints low_bytes = set_16(0x00FF), high_bytes = set_16(0xFF00);
    const Ints low_words = set_32(0xFFFF), high_words = set_32(static_cast<int32_t>(0xFFFF0000));
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const Ints a = value(step, 4 * half), b = value(step, 4 * half + 1);
      const Ints c = value(step, 4 * half + 2), d = value(step, 4 * half + 3);
      const Ints ab0 = or_bits(and_bits(a, low_bytes), left_16(b, 8));
      const Ints ab1 = or_bits(right_16(a, 8), and_bits(b, high_bytes));
      const Ints cd0 = or_bits(and_bits(c, low_bytes), left_16(d, 8));
      const Ints cd1 = or_bits(right_16(c, 8), and_bits(d, high_bytes));
      out[half] = or_bits(and_bits(ab0, low_words), left_32(cd0, 16));
      out[2 + half] = or_bits(and_bits(ab1, low_words), left_32(cd1, 16));
      out[4 + half] = or_bits(right_32(ab0, 16), and_bits(cd0, high_words));
      out[6 + half] = or_bits(right_32(ab1, 16), and_bits(cd1, high_words));
    }
  }

 private:
  /// What bit `at` of a window adds to the index; 0 outside.
  static uint8_t index_of_bit(const PackedView& w, int at) {
    if (at < 0 || at >= kWindow) return 0;
    if (at >= 6) return static_cast<uint8_t>(1 << (at - 6));
    int index = 0;
    for (int i = 0; i < 6; ++i) index |= (w.mixing[i] >> at & 1) << i;
    return static_cast<uint8_t>(index);
  }
};

template <int kBits>
using LongTrellisValues = TrellisValues<kBits, 12>;
template <int kBits>
using LightTrellisValues = TrellisValues<kBits, 6>;

template <int kBits, int kWindow>
bool accepts_windows(const twofold::WeightKind& kind) {
  return kind.values == twofold::WeightValues::kTrellis && kind.bits == kBits &&
         kind.window == kWindow;
}

}  // namespace

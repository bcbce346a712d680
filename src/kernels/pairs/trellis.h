// Internal to kernels/avx2 and kernels/avx512: lines of a trellis (docs/formats.md). The index of a
// window is a product over GF(2) with the bits of two to four nibbles of the stream: an exclusive
// or of entries of tables of 16. What four bits of the window's upper half add is these themselves.
//
// Instructions for a vector of values at 2 bits, windows of 12, AVX2 / AVX-512: nibbles 2 / 2,
// index 3 look-ups and 2.5 / 1.5 exclusive or, level 4 look-ups, 3 differences, 3 / 2 exclusive or:
// 17.5 / 15.5, of which 7 shuffle bytes. Their order in a slab takes 5 / 2 more. A product with one
// row takes 2.5 more, if levels are small multiples of a unit (Meaning), else 6; with many rows
// that is what counts, and plain codes of 2 bits take 2.1. One row of activations is thus bound by
// instructions: 3 a cycle on AVX2, 2 on AVX-512, where byte shuffles share one port. Measured
// (Intel Sapphire Rapids): 5.8 and 3.9 ns for 64 weights, 2.8 and 4.2 GB/s from a core where VBMI
// and GFNI reach 15.
//
// A code of 16 levels in windows of three nibbles, each looked up in a table of 16, would take 11
// instructions for one row in place of 20. It is left out: many rows gain nothing, since unpacking
// is 2 % of the time at 512 of them, and one row would be 1.8 times as fast by that count, for a
// format with a quarter of the levels that every other machine would have to read too.
#pragma once

#include "kernels/pairs/weights.h"
#include "kernels/trellis_columns.h"

namespace {

/// Values of a trellis.
/// @param kPairs pairs of products that are added in 16 bits where lines are unpacked in registers,
/// or 0: wide values
template <int kBits, int kWindow, int kPairs = 0>
struct TrellisValues : TrellisColumns<TrellisValues<kBits, kWindow, kPairs>> {
  static constexpr int kStepBytes = kBits * kLineBytes;
  static constexpr bool kWide = kPairs == 0;
  static constexpr int kSums = kPairs;
  static constexpr int kLevels = 64, kParts = kLevels / 16;
  /// Bit 0 of a nibble is bit -kMostBefore to kWindow - 1 of a window.
  static constexpr int kMostBefore = 3;

  Ints levels[kParts];
  Ints products[kMostBefore + kWindow];  // of nibbles, by their bit 0 in the window
  Meaning bytes_mean;
  int last_row = 0;  // of a vector: where the row after it is, in bytes

  void load_matrix(const PackedView& w) {
    load_matrix(w, kWide ? Meaning{} : level_bytes(w.shared_table, kLevels).meaning);
  }
  void load_matrix(const PackedView& w, const Meaning& wanted) {
    bytes_mean = wanted;
    uint8_t table[kLevels];
    for (int i = 0; i < kLevels; ++i) table[i] = byte_of(w.shared_table[i], wanted);
    for (int i = 0; i < kParts; ++i) levels[i] = load_lanes(table + 16 * i, 0);
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
  Meaning meaning(const PackedView&) const { return bytes_mean; }

  /// Byte kByte of the stream from each run on.
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
  /// What nibble kNibble adds to the index of the window of column kColumn of each run.
  template <int kColumn, int kNibble>
  [[gnu::always_inline]] inline Ints part(const uint8_t* step) const {
    constexpr int kFirst = 4 * kNibble - kBits * kColumn;
    if constexpr (kFirst == 6 && kFirst + 4 <= kWindow) return nibble<kNibble>(step);
    return look_up(products[kFirst + kMostBefore], nibble<kNibble>(step));
  }
  template <int kColumn>
  [[gnu::always_inline]] inline Ints column(const uint8_t* step) const {
    constexpr int kFirst = kBits * kColumn / 4, kLast = (kBits * kColumn + kWindow - 1) / 4;
    Ints index = part<kColumn, kFirst>(step);
    if constexpr (kLast == kFirst + 1) {
      index = xor_bits(index, part<kColumn, kLast>(step));
    } else {
      index = xor_bits(index, part<kColumn, kFirst + 1>(step), part<kColumn, kFirst + 2>(step));
      if constexpr (kLast == kFirst + 3) index = xor_bits(index, part<kColumn, kLast>(step));
    }
    return look_up_long<kParts>(levels, index);
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

}  // namespace

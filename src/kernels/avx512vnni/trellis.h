// Internal to kernels/avx512vnni and kernels/amx: lines of a trellis (docs/formats.md). The index
// of a window is a product over GF(2) with the bits of two or three bytes of the stream; one
// instruction multiplies all 64 bytes of a line by a matrix [8, 8].
#pragma once

#include "kernels/avx512vnni/weights.h"

namespace {

/// 64 numbers of bytes.
struct ByteNumbers {
  alignas(64) uint8_t bytes[64];
};

/// Where the byte that is kRuns runs of eight columns later in a tile's stream comes from. Byte i
/// of the lane of row r is run 2 r + i mod 2 of tile i / 2.
template <int kRuns>
constexpr ByteNumbers kLaterRun = [] {
  ByteNumbers from{};
  for (int at = 0; at < 64; ++at) {
    const int run = (at / 4 * 2 + at % 2 + kRuns) % 32;
    from.bytes[at] = static_cast<uint8_t>(run / 2 * 4 + at % 4 / 2 * 2 + run % 2);
  }
  return from;
}();

/// Values of a trellis. `value(step, j)` are the columns j, j + 8, j + 16 and j + 24 of the step.
template <int kBits, int kWindow>
struct TrellisValues {
  static constexpr int kColumns = 32, kLines = kBits;
  static constexpr bool kWide = false;
  using SharedByBlocks = void;
  /// Bit 0 of a byte is bit -kMostBefore to kWindow - 1 of a window.
  static constexpr int kMostBefore = 7;

  __m512i table;
  uint64_t matrix[kMostBefore + kWindow];  // of bytes, by their bit 0 in the window

  void load_matrix(const PackedView& w) {
    table = unsigned_levels(load_line(w.shared_table));
    for (int first = -kMostBefore; first < kWindow; ++first) {
      uint64_t rows = 0;
      for (int i = 0; i < 6; ++i) {
        uint64_t row = 0;
        for (int bit = 0; bit < 8; ++bit) {
          const int at = first + bit;
          const bool lo = at >= 0 && at < 6 && (w.mixing[i] >> at & 1) != 0;
          const bool hi = at >= 6 && at < kWindow && at - 6 == i;
          if (lo || hi) row |= uint64_t{1} << bit;
        }
        rows |= row << (8 * (7 - i));  // row 0 is the highest byte
      }
      matrix[first + kMostBefore] = rows;
    }
  }
  void load_group(const PackedView&, const uint8_t*, int64_t) {}

  /// Byte kByte of the stream from each run on.
  template <int kByte>
  TWOFOLD_INLINE __m512i stream(const uint8_t* step) {
    const __m512i line = load_line(step + kByte % kBits * 64);
    if constexpr (kByte < kBits) {
      return line;
    } else {
      const __m512i from = _mm512_load_si512(kLaterRun<kByte / kBits>.bytes);
      return _mm512_permutexvar_epi8(from, line);
    }
  }
  /// What byte kByte adds to the index of the window of column kColumn of each run.
  template <int kColumn, int kByte>
  [[gnu::always_inline]] inline __m512i part(const uint8_t* step) const {
    const uint64_t rows = matrix[8 * kByte - kBits * kColumn + kMostBefore];
    return _mm512_gf2p8affine_epi64_epi8(stream<kByte>(step),
                                         _mm512_set1_epi64(static_cast<int64_t>(rows)), 0);
  }
  template <int kColumn>
  [[gnu::always_inline]] inline __m512i column(const uint8_t* step) const {
    constexpr int kFirst = kBits * kColumn / 8, kLast = (kBits * kColumn + kWindow - 1) / 8;
    __m512i index = part<kColumn, kFirst>(step);
    if constexpr (kLast == kFirst + 1) {
      index = _mm512_xor_si512(index, part<kColumn, kLast>(step));
    } else if constexpr (kLast == kFirst + 2) {
      index = _mm512_ternarylogic_epi64(index, part<kColumn, kFirst + 1>(step),
                                        part<kColumn, kLast>(step), 0x96);  // exclusive or
    }
    return _mm512_permutexvar_epi8(index, table);
  }
  [[gnu::always_inline]] inline __m512i value(const uint8_t* step, int j) const {
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
  [[gnu::always_inline]] inline void unpack(const uint8_t* step, __m512i (&out)[8]) const {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m512i a = value(step, 4 * half), b = value(step, 4 * half + 1);
      const __m512i c = value(step, 4 * half + 2), d = value(step, 4 * half + 3);
      const __m512i ab0 = even_bytes(a, _mm512_slli_epi16(b, 8));
      const __m512i ab1 = even_bytes(_mm512_srli_epi16(a, 8), b);
      const __m512i cd0 = even_bytes(c, _mm512_slli_epi16(d, 8));
      const __m512i cd1 = even_bytes(_mm512_srli_epi16(c, 8), d);
      out[half] = even_words(ab0, _mm512_slli_epi32(cd0, 16));
      out[2 + half] = even_words(ab1, _mm512_slli_epi32(cd1, 16));
      out[4 + half] = even_words(_mm512_srli_epi32(ab0, 16), cd0);
      out[6 + half] = even_words(_mm512_srli_epi32(ab1, 16), cd1);
    }
  }
  /// The even bytes of a and the odd ones of b; the same for words.
  TWOFOLD_INLINE __m512i even_bytes(__m512i a, __m512i b) {
    return _mm512_ternarylogic_epi64(_mm512_set1_epi16(0x00FF), a, b, 0xCA);
  }
  TWOFOLD_INLINE __m512i even_words(__m512i a, __m512i b) {
    return _mm512_ternarylogic_epi64(_mm512_set1_epi32(0xFFFF), a, b, 0xCA);
  }
};

template <int kBits>
using LongTrellisValues = TrellisValues<kBits, 12>;
template <int kBits>
using LightTrellisValues = TrellisValues<kBits, 6>;

template <int kWindow, int kBits>
bool accepts_windows(const twofold::WeightKind& kind) {
  return kind.values == twofold::WeightValues::kTrellis && kind.bits == kBits &&
         kind.window == kWindow;
}

}  // namespace

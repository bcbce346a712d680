// Internal to kernels/avx512vnni and kernels/amx: lines of a trellis (docs/formats.md). The index
// of a window is a product over GF(2) with the bits of two or three bytes of the stream; one
// instruction multiplies all 64 bytes of a line by a matrix [8, 8].
#pragma once

#include "kernels/avx512/transpose.h"
#include "kernels/avx512vnni/weights.h"
#include "kernels/trellis_columns.h"

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

/// Values of a trellis.
template <int kBits, int kWindow>
struct TrellisValues : TrellisColumns<TrellisValues<kBits, kWindow>> {
  static constexpr int kLines = kBits;
  static constexpr bool kWide = false;
  using SharedByBlocks = void;
  /// Bit 0 of a byte is bit -kMostBefore to kWindow - 1 of a window.
  static constexpr int kMostBefore = 7;

  __m512i table;
  uint64_t matrix[kMostBefore + kWindow] = {};  // of bytes, by their bit 0 in the window

  void load_matrix(const PackedView& w) {
    table = unsigned_levels(load_line(w.shared_table));
    constexpr uint32_t kIn = (1u << kWindow) - 1;
    for (int i = 0; i < 6; ++i) {
      // Bits of a window that bit i of the index is the parity of.
      const uint32_t bits = (w.mixing[i] | 64u << i) & kIn;
      for (int at = 0; at < kMostBefore + kWindow; ++at) {
        const uint64_t row = bits << kMostBefore >> at & 255;
        matrix[at] |= row << (8 * (7 - i));  // row 0 is the highest byte
      }
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
};

template <int kBits>
using LongTrellisValues = TrellisValues<kBits, 12>;
template <int kBits>
using LightTrellisValues = TrellisValues<kBits, 6>;

}  // namespace

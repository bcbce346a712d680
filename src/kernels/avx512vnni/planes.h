// Internal to kernels/avx512vnni and kernels/amx: lines of bit planes (docs/formats.md) and the
// integers of their rows.
#pragma once

#include "kernels/avx512vnni/weights.h"

namespace {

/// Lines of 64 bytes and columns of a step of kPlanes planes, and where planes lie in it.
template <int kPlanes>
struct PlaneStep {
  static constexpr bool kSingle = kPlanes % 2 != 0;  // a last plane on lines of its own
  static constexpr int kPairs = kPlanes / 2;
  static constexpr int kColumns = kSingle ? 32 : 16;
  static constexpr int kHalves = kColumns / 16;
  static constexpr int kLines = kPairs * kHalves + (kSingle ? 1 : 0);
  /// Line of pair p for the 16 columns of a half; that of the single plane holds both halves.
  static constexpr int pair_line(int p, int half) { return p * kHalves + half; }
  static constexpr int kSingleLine = kLines - 1;
};

/// The integers of 16 rows in group g, [16][kPlanes] bytes.
template <int kPlanes>
TWOFOLD_INLINE __m512i load_integers(const PackedView& w, const uint8_t* block, int64_t g) {
  const uint8_t* from = block + w.tables_at + (w.table_sets > 1 ? g : 0) * 16 * kPlanes;
  return _mm512_maskz_loadu_epi8(~0ull >> (64 - 16 * kPlanes), from);
}

/// Constant vectors of 64 bytes, one for each plane of each of kVectors vectors.
template <int kVectors, int kPlanes>
struct PlaneBytes {
  alignas(64) uint8_t bytes[kVectors][kPlanes][64];
};

/// A code of planes is spread over the bits of an index so that few instructions gather it: plane 0
/// at bit 0, 1 at 4, and those of a second pair next to them; a single plane above a pair at bit 2.
template <int kPlanes>
struct PlaneIndex {
  static constexpr int bit(int plane) {
    if (kPlanes == 3 && plane == 2) return 2;
    return plane % 2 * 4 + plane / 2;
  }
  static constexpr int kCodeMask = [] {
    int mask = 0;
    for (int p = 0; p < kPlanes; ++p) mask |= 1 << bit(p);
    return mask;
  }();
  /// Row within a shuffle on the free bits, lowest first.
  static constexpr int spread_row(int row) {
    int index = 0;
    for (int at = 0; row != 0; ++at) {
      if (kCodeMask >> at & 1) continue;
      index |= (row & 1) << at;
      row >>= 1;
    }
    return index;
  }
};

/// Planes in table form: u = 128 + the sum of +-n_p, looked up in a table of each row.
template <int kPlanes>
struct PlaneValues : PlaneStep<kPlanes> {
  using Step = PlaneStep<kPlanes>;
  using Index = PlaneIndex<kPlanes>;
  static constexpr bool kWide = false;
  static constexpr int kVectors = kPlanes <= 2 ? 1 : 1 << (kPlanes - 2);
  static constexpr int kShuffles = kVectors <= 2 ? 1 : kVectors / 2;
  static constexpr int kRows = 16 / kShuffles;  // of a shuffle
  static constexpr int kEntries = kVectors == 1 ? 64 : 128;

  /// Which byte of load_integers an entry of a table adds for a plane.
  static constexpr PlaneBytes<kVectors, kPlanes> kFrom = [] {
    PlaneBytes<kVectors, kPlanes> from{};
    for (int s = 0; s < kShuffles; ++s) {
      for (int r = 0; r < kRows; ++r) {
        for (int i = 0; i < kEntries; ++i) {
          if ((i & ~Index::kCodeMask) != Index::spread_row(r)) continue;
          for (int p = 0; p < kPlanes; ++p) {
            from.bytes[s * (kEntries / 64) + i / 64][p][i % 64] =
                static_cast<uint8_t>((s * kRows + r) * kPlanes + p);
          }
        }
      }
    }
    return from;
  }();
  static constexpr PlaneBytes<1, 1> kRowIndex = [] {
    PlaneBytes<1, 1> index{};
    for (int i = 0; i < 64; ++i) {
      index.bytes[0][0][i] = static_cast<uint8_t>(Index::spread_row(i / 4 % kRows));
    }
    return index;
  }();
  /// Entries of 64 whose code has a plane.
  struct PlaneMasks {
    uint64_t of[kPlanes];
  };
  static constexpr PlaneMasks kEntriesWith = [] {
    PlaneMasks masks{};
    for (int p = 0; p < kPlanes; ++p) {
      for (int i = 0; i < 64; ++i) {
        masks.of[p] |= static_cast<uint64_t>(i >> Index::bit(p) & 1) << i;
      }
    }
    return masks;
  }();

  __m512i table[kVectors];
  __m512i rows, columns;

  void load_matrix(const PackedView&) {
    rows = _mm512_load_si512(kRowIndex.bytes[0][0]);
    columns = _mm512_set1_epi64(0x2322212003020100);  // byte c of a lane: bit c of the lane
  }
  void load_group(const PackedView& w, const uint8_t* block, int64_t g) {
    const __m512i integers = load_integers<kPlanes>(w, block, g);
#pragma GCC unroll 4
    for (int t = 0; t < kVectors; ++t) {
      table[t] = _mm512_set1_epi8(static_cast<char>(0x80));
#pragma GCC unroll 4
      for (int p = 0; p < kPlanes; ++p) {
        const __m512i n = _mm512_permutexvar_epi8(_mm512_load_si512(kFrom.bytes[t][p]), integers);
        const __m512i less = _mm512_sub_epi8(table[t], n);
        table[t] = _mm512_mask_add_epi8(less, kEntriesWith.of[p], table[t], n);
      }
    }
  }
  /// Bits of the lanes of a line from `first` + column on, moved to bit `to` of byte `column`.
  [[gnu::always_inline]] inline __m512i spread(const uint8_t* line, int first, int to) const {
    const __m512i by = _mm512_add_epi8(columns, _mm512_set1_epi8(static_cast<char>(first - to)));
    return _mm512_multishift_epi64_epi8(by, load_line(line));
  }
  [[gnu::always_inline]] inline __m512i value(const uint8_t* step, int j) const {
    const int half = j / 4, first = j % 4 * 8;
    __m512i code;
    if constexpr (Step::kPairs == 0) {
      code = spread(step, first + 4 * half, 0);
    } else {
      code = spread(step + 64 * Step::pair_line(0, half), first, 0);
    }
    if constexpr (kPlanes > 2) {
      const __m512i above = kPlanes == 3
                                ? spread(step + 64 * Step::kSingleLine, first + 4 * half, 2)
                                : spread(step + 64 * Step::pair_line(1, half), first, 1);
      code = _mm512_ternarylogic_epi64(_mm512_set1_epi8(0x11), code, above, 0xCA);
    }
    const __m512i mask = _mm512_set1_epi8(static_cast<char>(Index::kCodeMask));
    const __m512i index = _mm512_ternarylogic_epi64(code, mask, rows, 0xEA);  // code & mask | rows
    if constexpr (kVectors == 1) {
      return _mm512_permutexvar_epi8(index, table[0]);
    } else {
      __m512i out = _mm512_permutex2var_epi8(table[0], index, table[1]);
#pragma GCC unroll 2
      for (int i = 1; i < kShuffles; ++i) {
        const __m512i found = _mm512_permutex2var_epi8(table[2 * i], index, table[2 * i + 1]);
        const __mmask16 mask_of_rows = static_cast<__mmask16>(((1 << kRows) - 1) << (i * kRows));
        out = _mm512_mask_blend_epi32(mask_of_rows, out, found);
      }
      return out;
    }
  }
};

}  // namespace

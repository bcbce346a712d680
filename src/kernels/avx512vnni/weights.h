// Internal to kernels/avx512vnni and kernels/amx: from the lines of a packed block of 16 rows to
// unsigned bytes, 16 rows x 4 columns to a vector, and the parameters of 16 rows.
#pragma once

#include <immintrin.h>

#include "kernels/kernel.h"

namespace {

using twofold::PackedView;

#define TWOFOLD_INLINE [[gnu::always_inline]] static inline
#define TWOFOLD_INLINE_MEMBER [[gnu::always_inline]] inline

/// Lines of 64 bytes and columns of a step: those of r16_code.
template <int kBits>
struct StepOf;
template <>
struct StepOf<2> {
  static constexpr int kColumns = 16, kLines = 1;
};
template <>
struct StepOf<3> {
  static constexpr int kColumns = 32, kLines = 3;
};
template <>
struct StepOf<4> {
  static constexpr int kColumns = 8, kLines = 1;
};
template <>
struct StepOf<5> {
  static constexpr int kColumns = 32, kLines = 5;
};
template <>
struct StepOf<6> {
  static constexpr int kColumns = 16, kLines = 3;
};
template <>
struct StepOf<7> {
  static constexpr int kColumns = 32, kLines = 7;
};
template <>
struct StepOf<8> {
  static constexpr int kColumns = 4, kLines = 1;
};

TWOFOLD_INLINE __m512i load_line(const uint8_t* at) { return _mm512_loadu_si512(at); }

/// Asks for the lines that come this far behind a step. A block and the one after it are
/// contiguous: what hardware finds out by itself reaches less than the speed of memory while lines
/// are unpacked.
constexpr int64_t kPrefetchBytes = 4096;
template <int kLines>
TWOFOLD_INLINE void prefetch_step(const uint8_t* step, int64_t ahead) {
#pragma GCC unroll 8
  for (int i = 0; i < kLines; ++i) {
    _mm_prefetch(reinterpret_cast<const char*>(step + ahead + 64 * i), _MM_HINT_T0);
  }
}

/// How far ahead of byte `at` of a block to ask for lines, if blocks run kBlocks at a time: behind
/// the end of a block its stream goes on kBlocks blocks further.
template <int kBlocks>
TWOFOLD_INLINE int64_t prefetch_distance(const PackedView& w, int64_t at) {
  return kPrefetchBytes + (at + kPrefetchBytes < w.block_bytes ? 0 : (kBlocks - 1) * w.block_bytes);
}

/// Parameters of groups stand behind all lines of a block: those of group g are asked for while
/// group g of the block that its stream goes on with is far away.
TWOFOLD_INLINE void prefetch_scales(const PackedView& w, const uint8_t* next_block, int64_t g) {
  if (w.scale_sets <= 1) return;
  _mm_prefetch(reinterpret_cast<const char*>(next_block + w.scales_at + g * 32), _MM_HINT_T0);
  if (w.zero_bytes == 0) return;
  const uint8_t* zeros = next_block + w.zeros_at + g * 16 * w.zero_bytes;
  _mm_prefetch(reinterpret_cast<const char*>(zeros), _MM_HINT_T0);
}

/// Asks for the blocks that come after those being multiplied, in the order of memory and at the
/// pace of the lines being read, so that memory sees one stream whatever kernels read side by side.
/// Into the second cache: what the first can wait for at once is less than the speed of memory.
class Ahead {
 public:
  /// @param blocks that are multiplied at once, from `block` on.
  TWOFOLD_INLINE_MEMBER Ahead(const PackedView& w, const uint8_t* block, int blocks)
      : at_(block + blocks * w.block_bytes), begin_(at_), bytes_(blocks * w.block_bytes) {}
  /// As many lines as a step reads.
  template <int kLines>
  TWOFOLD_INLINE_MEMBER void lines() {
#pragma GCC unroll 16
    for (int i = 0; i < kLines; ++i) ask(at_ + 64 * i);
    at_ += 64 * kLines;
  }
  /// What is left of the share of `part` of `parts`: of what stands behind the lines.
  TWOFOLD_INLINE_MEMBER void finish(int64_t part, int64_t parts) {
    const uint8_t* end = begin_ + bytes_ * (part + 1) / parts;
    for (; at_ < end; at_ += 64) ask(at_);
  }

 private:
  [[gnu::always_inline]] static inline void ask(const uint8_t* at) {
    _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T1);
  }
  const uint8_t *at_, *begin_;
  int64_t bytes_;
};

/// How lines are asked for before they are read. `kNone`, one block after the other, is the fastest
/// where memory_streams() is 1, but only if all of a block is read in the order of memory:
/// parameters of groups and tables, which stand behind the lines that they are read before, make
/// a hole in the stream that costs half of its speed.
enum class Prefetch {
  kNone,     // the CPU follows
  kInOrder,  // Ahead
  kEach      // each block read side by side for itself
};
inline Prefetch prefetch_of(const PackedView& w, int64_t m) {
  if (w.streams > 1) return Prefetch::kEach;
  return m == 1 && w.groups == 1 && w.table_sets == 0 ? Prefetch::kNone : Prefetch::kInOrder;
}

/// Bits [kWidth p, kWidth p + kWidth) of every byte, moved to bit kTo, of the field that starts at
/// `lines`; j counts columns by four. Other bits are left over on both sides.
template <int kWidth, int kTo>
TWOFOLD_INLINE __m512i field(const uint8_t* lines, int j) {
  const __m512i line = load_line(lines + j * kWidth / 8 * 64);
  const int by = kWidth * (j % (8 / kWidth)) - kTo;
  if (by == 0) return line;
  return by > 0 ? _mm512_srli_epi16(line, static_cast<unsigned>(by))
                : _mm512_slli_epi16(line, static_cast<unsigned>(-by));
}

/// The low kBits bits of every byte of a, the others of b.
template <int kBits>
TWOFOLD_INLINE __m512i join(__m512i a, __m512i b) {
  return _mm512_ternarylogic_epi64(_mm512_set1_epi8((1 << kBits) - 1), a, b, 0xCA);
}

/// Codes of kBits bits in fields of 8, 4, 2 and 1, lowest first.
template <int kBits>
struct Codes {
  static constexpr int kColumns = StepOf<kBits>::kColumns, kLines = StepOf<kBits>::kLines;
  static constexpr bool kWide = false;  // two vectors for a value of 16 bits

  /// Codes with anything in the bits above them: an index of a table that repeats itself.
  TWOFOLD_INLINE __m512i loose(const uint8_t* step, int j) {
    if constexpr (kBits == 8) {
      return load_line(step);
    } else if constexpr (kBits == 2 || kBits == 4) {
      return field<kBits, 0>(step, j);
    } else if constexpr (kBits == 3) {
      return join<2>(field<2, 0>(step, j), field<1, 2>(step + 128, j));
    } else if constexpr (kBits == 5) {
      return join<4>(field<4, 0>(step, j), field<1, 4>(step + 256, j));
    } else if constexpr (kBits == 6) {
      return join<4>(field<4, 0>(step, j), field<2, 4>(step + 128, j));
    } else {
      return join<4>(field<4, 0>(step, j),
                     join<6>(field<2, 4>(step + 256, j), field<1, 6>(step + 384, j)));
    }
  }
  TWOFOLD_INLINE __m512i mask() { return _mm512_set1_epi8(static_cast<char>((1 << kBits) - 1)); }
  TWOFOLD_INLINE __m512i at(const uint8_t* step, int j) {
    if constexpr (kBits == 8) return load_line(step);
    return _mm512_and_si512(loose(step, j), mask());
  }
};

/// Affine: the code itself.
template <int kBits>
struct AffineValues : Codes<kBits> {
  static constexpr int kBitsOfCode = kBits;
  void load_matrix(const PackedView&) {}
  void load_group(const PackedView&, const uint8_t*, int64_t) {}
  [[gnu::always_inline]] inline __m512i value(const uint8_t* step, int j) const {
    return Codes<kBits>::at(step, j);
  }
};

TWOFOLD_INLINE __m512i unsigned_levels(__m512i levels) {
  return _mm512_xor_si512(levels, _mm512_set1_epi8(static_cast<char>(0x80)));
}

/// The 2^kBits bytes at `from`, repeated to 64.
template <int kBits>
TWOFOLD_INLINE __m512i load_repeated(const uint8_t* from) {
  static_assert(kBits >= 2 && kBits <= 6);
  if constexpr (kBits == 6) return load_line(from);
  if constexpr (kBits == 5) {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  constexpr __mmask16 kThere = kBits >= 4 ? 0xFFFF : (1 << (1 << (kBits & 3))) - 1;
  const __m128i bytes = _mm_maskz_loadu_epi8(kThere, from);
  if constexpr (kBits == 4) return _mm512_broadcast_i32x4(bytes);
  if constexpr (kBits == 3) return _mm512_broadcastq_epi64(bytes);
  return _mm512_broadcastd_epi32(bytes);
}

/// 2^kBits bytes, repeated if they are less than a vector: higher bits of a code do not matter.
template <int kBits>
struct ByteTable {
  static constexpr int kVectors = kBits <= 6 ? 1 : 1 << (kBits - 6);
  __m512i vectors[kVectors];

  void load(const uint8_t* from) {
    if constexpr (kBits <= 6) {
      vectors[0] = load_repeated<kBits>(from);
    } else {
      for (int i = 0; i < kVectors; ++i) vectors[i] = load_line(from + 64 * i);
    }
  }
  /// All bytes with the top bit turned over: signed levels plus 128.
  void make_unsigned() {
    for (__m512i& vector : vectors) vector = unsigned_levels(vector);
  }
  [[gnu::always_inline]] inline __m512i at(__m512i code) const {
    if constexpr (kBits <= 6) return _mm512_permutexvar_epi8(code, vectors[0]);
    if constexpr (kBits == 7) return _mm512_permutex2var_epi8(vectors[0], code, vectors[1]);
    if constexpr (kBits == 8) {
      const __m512i low = _mm512_permutex2var_epi8(vectors[0], code, vectors[1]);
      const __m512i high = _mm512_permutex2var_epi8(vectors[2], code, vectors[3]);
      return _mm512_mask_blend_epi8(_mm512_movepi8_mask(code), low, high);
    }
  }
};

/// One table of int8 levels for the matrix, 2 to 8 bits, plus 128.
template <int kBits>
struct TableValues : Codes<kBits> {
  ByteTable<kBits> table;

  void load_matrix(const PackedView& w) {
    table.load(w.shared_table);
    table.make_unsigned();
  }
  void load_group(const PackedView&, const uint8_t*, int64_t) {}
  [[gnu::always_inline]] inline __m512i value(const uint8_t* step, int j) const {
    return table.at(Codes<kBits>::loose(step, j));
  }
};

/// One table of int16 levels for the matrix, 2 to 8 bits, plus 32768: low bytes and high bytes.
template <int kBits>
struct WideTableValues : Codes<kBits> {
  static constexpr bool kWide = true;
  ByteTable<kBits> low_bytes, high_bytes;

  void load_matrix(const PackedView& w) {
    alignas(64) uint8_t low[1 << kBits], high[1 << kBits];
    for (int i = 0; i < 1 << kBits; ++i) {
      low[i] = w.shared_table[2 * i];
      high[i] = w.shared_table[2 * i + 1];
    }
    low_bytes.load(low);
    high_bytes.load(high);
    high_bytes.make_unsigned();
  }
  void load_group(const PackedView&, const uint8_t*, int64_t) {}
  [[gnu::always_inline]] inline void value(const uint8_t* step, int j, __m512i& low,
                                           __m512i& high) const {
    const __m512i code = Codes<kBits>::loose(step, j);
    low = low_bytes.at(code);
    high = high_bytes.at(code);
  }
};

/// The bytes 4 r to 4 r + 3 of a vector all hold (r mod kRows) kFactor.
template <int kRows, int kFactor>
TWOFOLD_INLINE __m512i row_numbers() {
  const __m512i rows = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i within = _mm512_and_si512(rows, _mm512_set1_epi32(kRows - 1));
  return _mm512_mullo_epi32(within, _mm512_set1_epi32(kFactor * 0x01010101));
}

/// A table of int8 levels for each row or group, 2 to 6 bits, plus 128. Each shuffle looks up the
/// rows whose tables its operands hold: 16 at 2 and 3 bits, then 8, 4, 2.
template <int kBits>
struct RowTableValues : Codes<kBits> {
  static constexpr int kBytes = 16 << kBits, kVectors = kBytes / 64;
  static constexpr int kShuffles = kVectors <= 2 ? 1 : kVectors / 2;
  static constexpr int kRows = 16 / kShuffles;  // of a shuffle
  __m512i table[kVectors];
  __m512i rows;

  void load_matrix(const PackedView&) { rows = row_numbers<kRows, 1 << kBits>(); }
  void load_group(const PackedView& w, const uint8_t* block, int64_t g) {
    const uint8_t* from = block + w.tables_at + (w.table_sets > 1 ? g : 0) * kBytes;
    for (int i = 0; i < kVectors; ++i) table[i] = unsigned_levels(load_line(from + 64 * i));
  }
  [[gnu::always_inline]] inline __m512i value(const uint8_t* step, int j) const {
    const __m512i index =
        _mm512_ternarylogic_epi64(Codes<kBits>::loose(step, j), Codes<kBits>::mask(), rows, 0xEA);
    if constexpr (kVectors == 1) {
      return _mm512_permutexvar_epi8(index, table[0]);
    } else {
      __m512i out = _mm512_permutex2var_epi8(table[0], index, table[1]);
#pragma GCC unroll 8
      for (int i = 1; i < kShuffles; ++i) {
        const __m512i found = _mm512_permutex2var_epi8(table[2 * i], index, table[2 * i + 1]);
        const __mmask16 mask = static_cast<__mmask16>(((1 << kRows) - 1) << (i * kRows));
        out = _mm512_mask_blend_epi32(mask, out, found);
      }
      return out;
    }
  }
};

/// The values of a step, columns 4 j to 4 j + 3 in vector j.
template <class Values>
TWOFOLD_INLINE void unpack_step(const Values& values, const uint8_t* step,
                                __m512i (&out)[Values::kColumns / 4]) {
  if constexpr (requires { values.unpack(step, out); }) {
    values.unpack(step, out);
  } else {
#pragma GCC unroll 8
    for (int j = 0; j < Values::kColumns / 4; ++j) out[j] = values.value(step, j);
  }
}

/// a and b of 16 rows: y += a S + b X.
struct Scales {
  __m512 a, b;
};
TWOFOLD_INLINE __m512 load_halfs(const uint8_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
TWOFOLD_INLINE Scales load_scales(const PackedView& w, const uint8_t* block, int64_t g) {
  const int64_t set = w.scale_sets > 1 ? g : 0;
  Scales out;
  const __m512 power = _mm512_set1_ps(w.power);
  const __m512 stored = w.scale_sets == 0 ? _mm512_set1_ps(w.matrix_scale)
                                          : load_halfs(block + w.scales_at + set * 32);
  out.a = _mm512_mul_ps(stored, power);
  if (w.kind.values != twofold::WeightValues::kAffine) {
    out.b = w.has_offset ? load_halfs(block + w.offsets_at + set * 32) : _mm512_setzero_ps();
    return out;
  }
  __m512 zero = _mm512_set1_ps(w.fixed_zero);
  if (w.zero_bytes == 2) zero = load_halfs(block + w.zeros_at + set * 32);
  if (w.zero_bytes == 1) {
    const __m128i bytes =
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + w.zeros_at + set * 16));
    zero = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
  }
  const __m512 product = _mm512_mul_ps(out.a, _mm512_sub_ps(zero, _mm512_set1_ps(w.bias)));
  out.b = _mm512_sub_ps(_mm512_setzero_ps(), product);
  return out;
}

/// Lanes of the rows of a block that exist.
TWOFOLD_INLINE __mmask16 rows_of_block(const PackedView& w, int64_t block) {
  const int64_t left = w.rows - block * 16;
  return static_cast<__mmask16>(left >= 16 ? 0xFFFF : (1 << left) - 1);
}

}  // namespace

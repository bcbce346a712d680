// Products of bit planes with a few rows of activations. One row: activation look-up. For every 16
// columns a table of the 16 sums +-x0 +-x1 +-x2 +-x3 of each four activations, built once for all
// rows of weights; four bits of a plane are the index of a sum, which the plane's integer
// multiplies. Two to four rows: tables of the rows of weights, as for other codes.
#include "kernels/avx512vnni/gemv.h"
#include "kernels/avx512vnni/planes.h"
#include "kernels/tables.h"

namespace {

using twofold::Kernel;
using twofold::WeightKind;
using twofold::WeightValues;

constexpr int kTableColumns = 16;  // of a table: four groups of four
constexpr int64_t kTableBytes = 128;

/// Signs of entry 4 (byte / 16) + kPart of a table, for the four groups that 16 bytes of
/// activations are: bit i of the entry says whether column i is added.
template <int kPart>
TWOFOLD_INLINE __m512i signs() {
  constexpr auto kFour = [](int entry) {
    uint32_t four = 0;
    for (int i = 0; i < 4; ++i) four |= (entry >> i & 1 ? 0x01u : 0xFFu) << (8 * i);
    return static_cast<int>(four);
  };
  const __m128i a = _mm_set1_epi32(kFour(kPart)), b = _mm_set1_epi32(kFour(4 + kPart));
  const __m128i c = _mm_set1_epi32(kFour(8 + kPart)), d = _mm_set1_epi32(kFour(12 + kPart));
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/// What the 128 added to activations to make them unsigned adds to sums with these signs, taken
/// back, and 128 to round the high byte.
TWOFOLD_INLINE __m512i start_of(__m512i signs_of_part) {
  const __m512i ones = _mm512_set1_epi8(1);
  const __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, signs_of_part);
  return _mm512_sub_epi32(_mm512_set1_epi32(128), _mm512_slli_epi32(sum, 7));
}

/// Sums of 16 activations as tables: byte 16 j + entry is of group j. The sum is the first table's
/// entry + 256 the second's, both signed.
/// @param tables [columns / 16][2][64].
void build_tables(const int8_t* x, int64_t columns, uint8_t* tables) {
  const __m512i sign0 = signs<0>(), sign1 = signs<1>(), sign2 = signs<2>(), sign3 = signs<3>();
  const __m512i start0 = start_of(sign0), start1 = start_of(sign1);
  const __m512i start2 = start_of(sign2), start3 = start_of(sign3);
  const __m512i top_bits = _mm512_set1_epi8(static_cast<char>(0x80));
  const __m512i low_bytes = _mm512_set1_epi16(0xFF);
  // From byte 16 lane + 4 part + group (entry 4 lane + part) to byte 16 group + entry.
  const __m512i bytes =
      _mm512_set_epi32(0x3F3B3733, 0x2F2B2723, 0x1F1B1713, 0x0F0B0703, 0x3E3A3632, 0x2E2A2622,
                       0x1E1A1612, 0x0E0A0602, 0x3D393531, 0x2D292521, 0x1D191511, 0x0D090501,
                       0x3C383430, 0x2C282420, 0x1C181410, 0x0C080400);
  for (int64_t c = 0; c < columns; c += kTableColumns) {
    const __m128i loaded = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + c));
    const __m512i u = _mm512_xor_si512(_mm512_broadcast_i32x4(loaded), top_bits);
    const __m512i part01 = _mm512_packs_epi32(_mm512_dpbusd_epi32(start0, u, sign0),
                                              _mm512_dpbusd_epi32(start1, u, sign1));
    const __m512i part23 = _mm512_packs_epi32(_mm512_dpbusd_epi32(start2, u, sign2),
                                              _mm512_dpbusd_epi32(start3, u, sign3));
    const __m512i low = _mm512_packus_epi16(_mm512_and_si512(part01, low_bytes),
                                            _mm512_and_si512(part23, low_bytes));
    const __m512i high =
        _mm512_packs_epi16(_mm512_srai_epi16(part01, 8), _mm512_srai_epi16(part23, 8));
    uint8_t* to = tables + c / kTableColumns * kTableBytes;
    _mm512_store_si512(to, _mm512_permutexvar_epi8(bytes, _mm512_xor_si512(low, top_bits)));
    _mm512_store_si512(to + 64, _mm512_permutexvar_epi8(bytes, high));
  }
}

int64_t scratch_bytes(const PackedView& w, int64_t /*m*/) {
  const int64_t padded = (w.cols + twofold::kInt8Padding - 1) / twofold::kInt8Padding;
  return padded * twofold::kInt8Padding / kTableColumns * kTableBytes;
}

/// Integer n of plane p of row r in the four bytes of lane r.
template <int kPlanes>
TWOFOLD_INLINE __m512i integers_of_plane(__m512i integers, int p) {
  const __m512i rows = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i from =
      _mm512_add_epi32(_mm512_mullo_epi32(rows, _mm512_set1_epi32(kPlanes)), _mm512_set1_epi32(p));
  return _mm512_permutexvar_epi8(_mm512_mullo_epi32(from, _mm512_set1_epi32(0x01010101)), integers);
}

/// Sums of some blocks of 16 rows in one segment, in two parts: sum = low + 256 high.
struct Sums {
  __m512i low, high;
};

/// Adds four bits of one plane for 16 columns.
TWOFOLD_INLINE void look_up(Sums& sums, __m512i nibbles, __m512i low, __m512i high,
                            __m512i integers) {
  const __m512i groups = _mm512_set1_epi32(0x30201000);
  const __m512i index =
      _mm512_ternarylogic_epi64(nibbles, _mm512_set1_epi8(0x0F), groups, 0xEA);  // a & b | c
  sums.low = _mm512_dpbusd_epi32(sums.low, integers, _mm512_permutexvar_epi8(index, low));
  sums.high = _mm512_dpbusd_epi32(sums.high, integers, _mm512_permutexvar_epi8(index, high));
}

/// One step of one block; tables [kHalves][2][64].
template <int kPlanes>
TWOFOLD_INLINE void look_up_step(Sums& sums, const uint8_t* step, const uint8_t* tables,
                                 const __m512i (&n)[kPlanes]) {
  using Step = PlaneStep<kPlanes>;
#pragma GCC unroll 2
  for (int half = 0; half < Step::kHalves; ++half) {
    const __m512i low = _mm512_load_si512(tables + half * kTableBytes);
    const __m512i high = _mm512_load_si512(tables + half * kTableBytes + 64);
#pragma GCC unroll 2
    for (int p = 0; p < Step::kPairs; ++p) {
      const __m512i line = load_line(step + 64 * Step::pair_line(p, half));
      look_up(sums, line, low, high, n[2 * p]);
      look_up(sums, _mm512_srli_epi16(line, 4), low, high, n[2 * p + 1]);
    }
    if constexpr (Step::kSingle) {
      const __m512i line = load_line(step + 64 * Step::kSingleLine);
      look_up(sums, half == 0 ? line : _mm512_srli_epi16(line, 4), low, high, n[kPlanes - 1]);
    }
  }
}

/// kBlocks blocks at once, which share the tables they read.
template <int kPlanes, int kBlocks, Prefetch kPrefetch>
void multiply_blocks(const MatmulArgs& args, int64_t block) {
  using Step = PlaneStep<kPlanes>;
  const PackedView& w = *args.weights;
  const Int8Rows& x = args.x;
  const int64_t per_group = (w.group + x.segment - 1) / x.segment;
  const uint8_t* bytes = w.blob + block * w.block_bytes;
  Ahead ahead(w, bytes, kBlocks);
  __m512 y[kBlocks];
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) y[b] = _mm512_setzero_ps();
  for (int64_t g = 0; g < w.groups; ++g) {
    __m512i n[kBlocks][kPlanes];
    __m512 sums[kBlocks];
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) {
      const __m512i integers = load_integers<kPlanes>(w, bytes + b * w.block_bytes, g);
#pragma GCC unroll 4
      for (int p = 0; p < kPlanes; ++p) n[b][p] = integers_of_plane<kPlanes>(integers, p);
      sums[b] = _mm512_setzero_ps();
    }
    const uint8_t* step = bytes + g * w.group_bytes;
    const int64_t last = (g + 1) * per_group < x.segments ? (g + 1) * per_group : x.segments;
    for (int64_t s = g * per_group; s < last; ++s) {
      const int64_t begin = s * x.segment;
      const int64_t end = begin + x.segment < w.cols ? begin + x.segment : w.cols;
      Sums parts[kBlocks];
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) {
        parts[b] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
      }
      const int64_t distance = prefetch_distance<kBlocks>(w, step - bytes);
      for (int64_t c = begin; c < end; c += Step::kColumns) {
        const uint8_t* tables = args.scratch + c / kTableColumns * kTableBytes;
        if constexpr (kPrefetch == Prefetch::kInOrder) ahead.lines<kBlocks * Step::kLines>();
#pragma GCC unroll 4
        for (int b = 0; b < kBlocks; ++b) {
          if constexpr (kPrefetch == Prefetch::kEach) {
            prefetch_step<Step::kLines>(step + b * w.block_bytes, distance);
          }
          look_up_step<kPlanes>(parts[b], step + b * w.block_bytes, tables, n[b]);
        }
        step += Step::kLines * 64;
      }
      const __m512 scale = _mm512_set1_ps(x.scales[s]);
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) {
        const __m512i sum = _mm512_add_epi32(parts[b].low, _mm512_slli_epi32(parts[b].high, 8));
        sums[b] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sum), sums[b]);
      }
    }
    const __m512 group_sum = _mm512_set1_ps(x.group_sums[g]);
    if constexpr (kPrefetch == Prefetch::kInOrder) ahead.finish(g, w.groups);
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) {
      if constexpr (kPrefetch == Prefetch::kEach) {
        prefetch_scales(w, bytes + (b + kBlocks) * w.block_bytes, g);
      }
      const Scales scales = load_scales(w, bytes + b * w.block_bytes, g);
      y[b] = _mm512_fmadd_ps(scales.b, group_sum, _mm512_fmadd_ps(scales.a, sums[b], y[b]));
    }
  }
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    _mm512_mask_storeu_ps(args.y + (block + b) * 16, rows_of_block(w, block + b), y[b]);
  }
}

constexpr int kBlocksAtOnce = 2;

template <int kPlanes, Prefetch kPrefetch>
[[gnu::noinline]] void look_up_row(const MatmulArgs& row) {
  int64_t block = row.block_begin;
  for (; block + kBlocksAtOnce <= row.block_end; block += kBlocksAtOnce) {
    multiply_blocks<kPlanes, kBlocksAtOnce, kPrefetch>(row, block);
  }
  for (; block < row.block_end; ++block) multiply_blocks<kPlanes, 1, kPrefetch>(row, block);
}

/// Any number of rows, one at a time.
template <int kPlanes>
void look_up_gemv(const MatmulArgs& args) {
  MatmulArgs row = args;
  for (int64_t i = 0; i < args.m; ++i) {
    build_tables(row.x.values, row.x.stride, row.scratch);
    row.weights->streams > 1 ? look_up_row<kPlanes, Prefetch::kEach>(row)
                             : look_up_row<kPlanes, Prefetch::kInOrder>(row);
    row.x.values += row.x.stride;
    row.x.scales += row.x.segments;
    row.x.group_sums += row.weights->groups;
    row.y += row.y_stride;
  }
}

template <int kPlanes>
bool accepts(const WeightKind& kind) {
  return kind.planes && kind.bits == kPlanes;
}

template <int kPlanes>
constexpr Kernel one_row(const char* name) {
  return {.name = name,
          .isa = twofold::Isa::kAvx512Vnni,
          .min_m = 1,
          .max_m = 1,
          .accepts = accepts<kPlanes>,
          .scratch_bytes = scratch_bytes,
          .run = look_up_gemv<kPlanes>,
          .contiguous = true};
}

template <int kPlanes>
constexpr Kernel rows(const char* name) {
  return {.name = name,
          .isa = twofold::Isa::kAvx512Vnni,
          .min_m = 2,
          .max_m = 4,
          .accepts = accepts<kPlanes>,
          .scratch_bytes = nullptr,
          .run = gemv_rows<PlaneValues<kPlanes>>};
}

constexpr Kernel kKernels[] = {
    rows<1>("gemv-planes1-avx512vnni"),      rows<2>("gemv-planes2-avx512vnni"),
    rows<3>("gemv-planes3-avx512vnni"),      rows<4>("gemv-planes4-avx512vnni"),
    one_row<1>("lookup-planes1-avx512vnni"), one_row<2>("lookup-planes2-avx512vnni"),
    one_row<3>("lookup-planes3-avx512vnni"), one_row<4>("lookup-planes4-avx512vnni"),
};

}  // namespace

namespace twofold {
constinit const KernelList kGemvPlanesAvx512Vnni = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold

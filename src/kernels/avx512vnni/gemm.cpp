// Products with many rows of activations: 32 rows of weights are unpacked once to a slab of bytes,
// then multiplied in register blocks of 32 rows x 8 rows of activations.
//
// Budget of such a block in cycles of a core with two 512-bit ports (Ice Lake and later), which
// integer products, conversions and FMA share:
//   4 columns         16 VPDPBUSD                                                      8
//   loads of these    2 lines of weights, 8 broadcasts                                 5
//   end of a segment  16 x (convert, FMA)                                             16
//   end of a group    16 x 2 FMA                                                      16
// So 128 columns take 256 + 16 with a scale per row, 256 + 32 in groups of 128, 256 + 64 in groups
// of 64, as long as nothing else needs the two ports: scales are converted once per slab, and
// starting values are broadcast from memory.
#include "kernels/avx512vnni/gemv.h"
#include "kernels/avx512vnni/unpack.h"
#include "kernels/avx512vnni/unpacked_kinds.h"
#include "kernels/tables.h"

namespace {

using twofold::Kernel;

constexpr int kTokens = 8;
constexpr int64_t kTileFloats = 2 * kTokens * 16;  // of a register block

int64_t padded_columns(const PackedView& w) {
  return (w.cols + twofold::kInt8Padding - 1) / twofold::kInt8Padding * twofold::kInt8Padding;
}
/// The most segments that a row of activations is cut into, in whole vectors.
int64_t padded_segments(const PackedView& w) {
  const int64_t most = (w.cols + twofold::kSumColumns - 1) / twofold::kSumColumns;
  return (most + 15) / 16 * 16;
}

/// Scratch memory of a call. Sums of a register block are in memory: accumulators of 32-bit
/// integers fill the registers.
struct Scratch {
  uint8_t* slab;        // [2 blocks][columns / 4][16][4], or the low and the high bytes of one
  int64_t slab_stride;  // of a block
  float* scales;        // a and b of groups, [groups][2 blocks][2][16]
  float *running, *y;   // S and y, [kTokens][2 blocks][16]
  int32_t* starts;      // -bias times the sums of segments, [kTokens][starts_stride]
  int64_t starts_stride;
};

Scratch scratch_at(const PackedView& w, uint8_t* memory) {
  Scratch out;
  out.slab = memory;
  out.slab_stride = 16 * padded_columns(w);
  out.scales = reinterpret_cast<float*>(memory + 2 * out.slab_stride);
  out.running = out.scales + w.groups * 64;
  out.y = out.running + kTileFloats;
  out.starts = reinterpret_cast<int32_t*>(out.y + kTileFloats);
  out.starts_stride = padded_segments(w);
  return out;
}

int64_t scratch_bytes(const PackedView& w, int64_t /*m*/) {
  return 2 * 16 * padded_columns(w) +
         4 * (w.groups * 64 + 2 * kTileFloats + kTokens * padded_segments(w));
}

/// sum + u * four. With the intrinsic, GCC 12 copies each sum twice per product: the loop is then
/// bound by the number of its instructions.
TWOFOLD_INLINE __m512i add_products(__m512i sum, __m512i u, __m512i four) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u), "v"(four));
  return sum;
}

/// Sums of integers over a segment that starts at column `begin`.
template <int kSlabs, int kM, bool kWide>
[[gnu::always_inline]] inline void multiply_segment(const PackedView& w, const Int8Rows& x,
                                                    const Scratch& scratch, int64_t s,
                                                    __m512i (&acc)[kSlabs][kM]) {
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) {
    const __m512i start = _mm512_set1_epi32(scratch.starts[i * scratch.starts_stride + s]);
#pragma GCC unroll 2
    for (int b = 0; b < kSlabs; ++b) {
      acc[b][i] = kWide && b == 1 ? _mm512_setzero_si512() : start;
    }
  }
  const int64_t begin = s * x.segment;
  const int64_t end = begin + x.segment < w.cols ? begin + x.segment : w.cols;
  const int8_t* values = x.values + begin;
  const uint8_t* slab = scratch.slab + begin * 16;
  for (const int8_t* const stop = x.values + end; values < stop; values += 4) {
    __m512i u[kSlabs];
#pragma GCC unroll 2
    for (int b = 0; b < kSlabs; ++b) u[b] = load_line(slab + b * scratch.slab_stride);
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) {
      const __m512i four = four_columns(values + i * x.stride);
#pragma GCC unroll 2
      for (int b = 0; b < kSlabs; ++b) acc[b][i] = add_products(acc[b][i], u[b], four);
    }
    slab += 64;
  }
}

/// Scales the sums of segment s of group g: it starts the group, ends it, both or neither.
template <int kBlocks, int kM, bool kWide, bool kStarts, bool kEnds>
[[gnu::always_inline]] inline void scale_segment(const PackedView& w, const Int8Rows& x,
                                                 const Scratch& scratch, int64_t s, int64_t g,
                                                 const __m512i (&acc)[kWide ? 2 : kBlocks][kM]) {
  const float* scales = scratch.scales + g * 64;
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) {
    const __m512 scale = _mm512_set1_ps(x.scales[i * x.segments + s]);
#pragma GCC unroll 2
    for (int b = 0; b < kBlocks; ++b) {
      const int at = (i * 2 + b) * 16;
      __m512i integer = acc[b][i];
      if constexpr (kWide) integer = _mm512_add_epi32(integer, _mm512_slli_epi32(acc[1][i], 8));
      __m512 sum = _mm512_cvtepi32_ps(integer);
      if constexpr (kStarts) {
        sum = _mm512_mul_ps(scale, sum);
      } else {
        sum = _mm512_fmadd_ps(scale, sum, _mm512_load_ps(scratch.running + at));
      }
      if constexpr (kEnds) {
        const __m512 group_sum = _mm512_set1_ps(x.group_sums[i * w.groups + g]);
        sum = _mm512_fmadd_ps(_mm512_load_ps(scales + b * 32), sum, _mm512_load_ps(scratch.y + at));
        sum = _mm512_fmadd_ps(_mm512_load_ps(scales + b * 32 + 16), group_sum, sum);
        _mm512_store_ps(scratch.y + at, sum);
      } else {
        _mm512_store_ps(scratch.running + at, sum);
      }
    }
  }
}

/// All columns for kBlocks blocks from `block` on and kM rows of activations.
template <int kBlocks, int kM, bool kWide>
void multiply_tile(const MatmulArgs& args, const Scratch& memory, const Int8Rows& rows,
                   int64_t block, float* y) {
  static_assert(!kWide || kBlocks == 1);
  const PackedView& w = *args.weights;
  const Int8Rows x = rows;
  const Scratch scratch = memory;
  const __m512i bias = _mm512_set1_epi32(-static_cast<int32_t>(w.bias));
  for (int i = 0; i < kM; ++i) {
    for (int64_t s = 0; s < x.segments; s += 16) {
      const int64_t left = x.segments - s;
      const auto mask = static_cast<__mmask16>(left >= 16 ? 0xFFFF : (1 << left) - 1);
      const __m512i sums = _mm512_maskz_loadu_epi32(mask, x.sums + i * x.segments + s);
      _mm512_store_si512(scratch.starts + i * scratch.starts_stride + s,
                         _mm512_mullo_epi32(bias, sums));
    }
  }
  for (int i = 0; i < 2 * kM; ++i) _mm512_store_ps(scratch.y + i * 16, _mm512_setzero_ps());
  const int64_t per_group = (w.group + x.segment - 1) / x.segment;
  int64_t s = 0;
  for (int64_t g = 0; g < w.groups; ++g) {
    const int64_t first = s;
    const int64_t end = (g + 1) * per_group < x.segments ? (g + 1) * per_group : x.segments;
    for (; s < end; ++s) {
      __m512i acc[kWide ? 2 : kBlocks][kM];
      multiply_segment<kWide ? 2 : kBlocks, kM, kWide>(w, x, scratch, s, acc);
      const bool ends = s + 1 == end;
      if (s == first) {
        if (ends) {
          scale_segment<kBlocks, kM, kWide, true, true>(w, x, scratch, s, g, acc);
        } else {
          scale_segment<kBlocks, kM, kWide, true, false>(w, x, scratch, s, g, acc);
        }
      } else if (ends) {
        scale_segment<kBlocks, kM, kWide, false, true>(w, x, scratch, s, g, acc);
      } else {
        scale_segment<kBlocks, kM, kWide, false, false>(w, x, scratch, s, g, acc);
      }
    }
  }
#pragma GCC unroll 2
  for (int b = 0; b < kBlocks; ++b) {
    const __mmask16 there = rows_of_block(w, block + b);
    for (int i = 0; i < kM; ++i) {
      _mm512_mask_storeu_ps(y + i * args.y_stride + (block + b) * 16, there,
                            _mm512_load_ps(scratch.y + (i * 2 + b) * 16));
    }
  }
}

template <int kBlocks, bool kWide = false>
void multiply_slab(const MatmulArgs& args, const Scratch& scratch, int64_t block) {
  const PackedView& w = *args.weights;
  for (int64_t g = 0; g < w.groups; ++g) {
    for (int b = 0; b < kBlocks; ++b) {
      const Scales scales = load_scales(w, w.blob + (block + b) * w.block_bytes, g);
      _mm512_store_ps(scratch.scales + g * 64 + b * 32, scales.a);
      _mm512_store_ps(scratch.scales + g * 64 + b * 32 + 16, scales.b);
    }
  }
  for (int64_t i = 0; i < args.m; i += kTokens) {
    Int8Rows x = args.x;
    x.values += i * x.stride;
    x.scales += i * x.segments;
    x.sums += i * x.segments;
    x.group_sums += i * w.groups;
    float* y = args.y + i * args.y_stride;
    switch (args.m - i) {
      case 1:
        multiply_tile<kBlocks, 1, kWide>(args, scratch, x, block, y);
        break;
      case 2:
        multiply_tile<kBlocks, 2, kWide>(args, scratch, x, block, y);
        break;
      case 3:
        multiply_tile<kBlocks, 3, kWide>(args, scratch, x, block, y);
        break;
      case 4:
        multiply_tile<kBlocks, 4, kWide>(args, scratch, x, block, y);
        break;
      case 5:
        multiply_tile<kBlocks, 5, kWide>(args, scratch, x, block, y);
        break;
      case 6:
        multiply_tile<kBlocks, 6, kWide>(args, scratch, x, block, y);
        break;
      case 7:
        multiply_tile<kBlocks, 7, kWide>(args, scratch, x, block, y);
        break;
      default:
        multiply_tile<kBlocks, 8, kWide>(args, scratch, x, block, y);
    }
  }
}

template <class Values>
void gemm_pairs(const MatmulArgs& args) {
  const PackedView& w = *args.weights;
  const Scratch scratch = scratch_at(w, args.scratch);
  Values matrix;
  matrix.load_matrix(w);
  for (int64_t block = args.block_begin; block < args.block_end; block += 2) {
    unpack_block(w, matrix, block, scratch.slab);
    if (block + 1 < args.block_end) {
      unpack_block(w, matrix, block + 1, scratch.slab + scratch.slab_stride);
      multiply_slab<2>(args, scratch, block);
    } else {
      multiply_slab<1>(args, scratch, block);
    }
  }
}

template <class Values>
void gemm_wide(const MatmulArgs& args) {
  const PackedView& w = *args.weights;
  const Scratch scratch = scratch_at(w, args.scratch);
  Values matrix;
  matrix.load_matrix(w);
  for (int64_t block = args.block_begin; block < args.block_end; ++block) {
    unpack_block(w, matrix, block, scratch.slab, scratch.slab + scratch.slab_stride);
    multiply_slab<1, true>(args, scratch, block);
  }
}

template <class Values>
void gemm_of(const MatmulArgs& args) {
  if constexpr (Values::kWide) {
    gemm_wide<Values>(args);
  } else {
    gemm_pairs<Values>(args);
  }
}

constexpr Kernel kKernels[] = {
#define TWOFOLD_ROW(accepts, type, bits, name) \
  {"gemm-" name "-avx512vnni",                 \
   twofold::Isa::kAvx512Vnni,                  \
   5,                                          \
   INT64_MAX,                                  \
   accepts<bits>,                              \
   scratch_bytes,                              \
   gemm_of<type<bits>>},
    TWOFOLD_UNPACKED_KINDS(TWOFOLD_ROW) TWOFOLD_WIDE_KINDS(TWOFOLD_ROW)
#undef TWOFOLD_ROW
};

}  // namespace

namespace twofold {
constinit const KernelList kGemmAvx512Vnni = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold

// Products with many rows of activations: 32 rows of weights are unpacked once to a slab of bytes,
// then multiplied in register blocks of 32 rows x 8 rows of activations.
#include "kernels/avx512vnni/gemv.h"
#include "kernels/avx512vnni/unpack.h"
#include "kernels/avx512vnni/unpacked_kinds.h"
#include "kernels/tables.h"

namespace {

using twofold::Kernel;

constexpr int kTokens = 8;

int64_t padded_columns(const PackedView& w) {
  return (w.cols + twofold::kInt8Padding - 1) / twofold::kInt8Padding * twofold::kInt8Padding;
}

int64_t scratch_bytes(const PackedView& w, int64_t /*m*/) { return 2 * 16 * padded_columns(w); }

/// The sums of one group for kBlocks x 16 rows and kM rows of activations.
/// @param slab of the first column of the group; slabs of blocks are `stride` bytes apart, or those
/// of the low and the high bytes of one block of wide values.
template <int kBlocks, int kM, bool kWide>
[[gnu::always_inline]] inline void multiply_group(const PackedView& w, const Int8Rows& x,
                                                  const uint8_t* slab, int64_t stride,
                                                  int64_t first, int64_t last,
                                                  __m512 (&sums)[kBlocks][kM]) {
  static_assert(!kWide || kBlocks == 1);
  constexpr int kSlabs = kWide ? 2 : kBlocks;
  const int32_t bias = -static_cast<int32_t>(w.bias);
  for (int64_t s = first; s < last; ++s) {
    __m512i acc[kSlabs][kM];
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) {
      const __m512i start = _mm512_set1_epi32(bias * x.sums[i * x.segments + s]);
#pragma GCC unroll 2
      for (int b = 0; b < kSlabs; ++b) {
        acc[b][i] = kWide && b == 1 ? _mm512_setzero_si512() : start;
      }
    }
    const int64_t begin = s * x.segment;
    const int64_t end = begin + x.segment < w.cols ? begin + x.segment : w.cols;
    const int8_t* values = x.values + begin;
    for (int64_t c = begin; c < end; c += 4) {
      __m512i u[kSlabs];
#pragma GCC unroll 2
      for (int b = 0; b < kSlabs; ++b) u[b] = load_line(slab + b * stride);
#pragma GCC unroll 8
      for (int i = 0; i < kM; ++i) {
        const __m512i four = four_columns(values + i * x.stride);
#pragma GCC unroll 2
        for (int b = 0; b < kSlabs; ++b) acc[b][i] = _mm512_dpbusd_epi32(acc[b][i], u[b], four);
      }
      slab += 64;
      values += 4;
    }
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) {
      const __m512 scale = _mm512_set1_ps(x.scales[i * x.segments + s]);
      if constexpr (kWide) {
        acc[0][i] = _mm512_add_epi32(acc[0][i], _mm512_slli_epi32(acc[1][i], 8));
      }
#pragma GCC unroll 2
      for (int b = 0; b < kBlocks; ++b) {
        sums[b][i] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(acc[b][i]), sums[b][i]);
      }
    }
  }
}

/// All columns for kBlocks blocks from `block` on and kM rows of activations.
template <int kBlocks, int kM, bool kWide>
void multiply_tile(const MatmulArgs& args, const Int8Rows& x, int64_t block, float* y) {
  const PackedView& w = *args.weights;
  const int64_t stride = 16 * padded_columns(w);
  const int64_t per_group = (w.group + x.segment - 1) / x.segment;
  __m512 total[kBlocks][kM];
#pragma GCC unroll 2
  for (int b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) total[b][i] = _mm512_setzero_ps();
  }
  for (int64_t g = 0; g < w.groups; ++g) {
    __m512 sums[kBlocks][kM];
#pragma GCC unroll 2
    for (int b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 8
      for (int i = 0; i < kM; ++i) sums[b][i] = _mm512_setzero_ps();
    }
    const int64_t last = (g + 1) * per_group < x.segments ? (g + 1) * per_group : x.segments;
    multiply_group<kBlocks, kM, kWide>(w, x, args.scratch + g * w.group * 16, stride, g * per_group,
                                       last, sums);
#pragma GCC unroll 2
    for (int b = 0; b < kBlocks; ++b) {
      const Scales scales = load_scales(w, w.blob + (block + b) * w.block_bytes, g);
#pragma GCC unroll 8
      for (int i = 0; i < kM; ++i) {
        const __m512 sum = _mm512_set1_ps(x.group_sums[i * w.groups + g]);
        total[b][i] =
            _mm512_fmadd_ps(scales.b, sum, _mm512_fmadd_ps(scales.a, sums[b][i], total[b][i]));
      }
    }
  }
#pragma GCC unroll 2
  for (int b = 0; b < kBlocks; ++b) {
    const __mmask16 rows = rows_of_block(w, block + b);
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) {
      _mm512_mask_storeu_ps(y + i * args.y_stride + (block + b) * 16, rows, total[b][i]);
    }
  }
}

template <int kBlocks, bool kWide = false>
void multiply_slab(const MatmulArgs& args, int64_t block) {
  const int64_t groups = args.weights->groups;
  for (int64_t i = 0; i < args.m; i += kTokens) {
    Int8Rows x = args.x;
    x.values += i * x.stride;
    x.scales += i * x.segments;
    x.sums += i * x.segments;
    x.group_sums += i * groups;
    float* y = args.y + i * args.y_stride;
    switch (args.m - i) {
      case 1:
        multiply_tile<kBlocks, 1, kWide>(args, x, block, y);
        break;
      case 2:
        multiply_tile<kBlocks, 2, kWide>(args, x, block, y);
        break;
      case 3:
        multiply_tile<kBlocks, 3, kWide>(args, x, block, y);
        break;
      case 4:
        multiply_tile<kBlocks, 4, kWide>(args, x, block, y);
        break;
      case 5:
        multiply_tile<kBlocks, 5, kWide>(args, x, block, y);
        break;
      case 6:
        multiply_tile<kBlocks, 6, kWide>(args, x, block, y);
        break;
      case 7:
        multiply_tile<kBlocks, 7, kWide>(args, x, block, y);
        break;
      default:
        multiply_tile<kBlocks, 8, kWide>(args, x, block, y);
    }
  }
}

template <class Values>
void gemm_pairs(const MatmulArgs& args) {
  const PackedView& w = *args.weights;
  const int64_t stride = 16 * padded_columns(w);
  Values matrix;
  matrix.load_matrix(w);
  for (int64_t block = args.block_begin; block < args.block_end; block += 2) {
    unpack_block(w, matrix, block, args.scratch);
    if (block + 1 < args.block_end) {
      unpack_block(w, matrix, block + 1, args.scratch + stride);
      multiply_slab<2>(args, block);
    } else {
      multiply_slab<1>(args, block);
    }
  }
}

template <class Values>
void gemm_wide(const MatmulArgs& args) {
  const PackedView& w = *args.weights;
  const int64_t stride = 16 * padded_columns(w);
  Values matrix;
  matrix.load_matrix(w);
  for (int64_t block = args.block_begin; block < args.block_end; ++block) {
    unpack_block(w, matrix, block, args.scratch, args.scratch + stride);
    multiply_slab<1, true>(args, block);
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

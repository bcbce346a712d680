// Internal to kernels/avx512vnni: the product with one to four rows of activations. Blocks of 16
// rows are contiguous streams of bytes; lines are unpacked once for all rows.
#pragma once

#include "kernels/avx512vnni/weights.h"

namespace {

using twofold::Int8Rows;
using twofold::MatmulArgs;

/// Four columns of one row of activations in all lanes.
TWOFOLD_INLINE __m512i four_columns(const int8_t* x) {
  int32_t bits;
  __builtin_memcpy(&bits, x, 4);
  return _mm512_set1_epi32(bits);
}

/// The integer sums of one segment for one block and kM rows of activations.
template <int kM>
struct Parts {
  __m512i even[kM];
  __m512i odd[kM];  // every second product, or those of the high bytes of wide values
};

/// Adds one step; x [kM, stride] from its first column on.
template <class Values, int kM>
TWOFOLD_INLINE void add_step(Parts<kM>& sums, const Values& values, const uint8_t* step,
                             const int8_t* x, int64_t stride) {
#pragma GCC unroll 8
  for (int j = 0; j < Values::kColumns / 4; ++j) {
    __m512i u, high;
    if constexpr (Values::kWide) {
      values.value(step, j, u, high);
    } else {
      u = values.value(step, j);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kM; ++i) {
      const __m512i four = four_columns(x + i * stride + 4 * j);
      if constexpr (Values::kWide) {
        sums.even[i] = _mm512_dpbusd_epi32(sums.even[i], u, four);
        sums.odd[i] = _mm512_dpbusd_epi32(sums.odd[i], high, four);
      } else if (j % 2 == 0) {
        sums.even[i] = _mm512_dpbusd_epi32(sums.even[i], u, four);
      } else {
        sums.odd[i] = _mm512_dpbusd_epi32(sums.odd[i], u, four);
      }
    }
  }
}

/// Objects that read kBlocks blocks: one is enough where nothing is loaded by group.
template <class Values, int kBlocks>
constexpr int kObjects = requires {
  typename Values::SharedByBlocks;
}
? 1 : kBlocks;

/// kBlocks blocks at once, each a stream of bytes of its own.
template <class Values, int kM, int kBlocks, Prefetch kPrefetch>
void gemv_blocks(const MatmulArgs& args, Values (&values)[kObjects<Values, kBlocks>],
                 int64_t block) {
  constexpr int kLast = kObjects<Values, kBlocks> - 1;
  const PackedView& w = *args.weights;
  const Int8Rows& x = args.x;
  const int64_t per_group = (w.group + x.segment - 1) / x.segment;
  const uint8_t* bytes = w.blob + block * w.block_bytes;
  Ahead ahead(w, bytes, kBlocks);
  __m512 y[kBlocks][kM] = {};
  for (int64_t g = 0; g < w.groups; ++g) {
    __m512 sums[kBlocks][kM] = {};
#pragma GCC unroll 2
    for (int b = 0; b <= kLast; ++b) values[b].load_group(w, bytes + b * w.block_bytes, g);
    const uint8_t* step = bytes + g * w.group_bytes;
    const int64_t last = (g + 1) * per_group < x.segments ? (g + 1) * per_group : x.segments;
    for (int64_t s = g * per_group; s < last; ++s) {
      const int64_t begin = s * x.segment;
      const int64_t end = begin + x.segment < w.cols ? begin + x.segment : w.cols;
      Parts<kM> parts[kBlocks] = {};
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) {
        const __m512i start =
            _mm512_set1_epi32(-static_cast<int32_t>(w.bias) * x.sums[i * x.segments + s]);
#pragma GCC unroll 2
        for (int b = 0; b < kBlocks; ++b) parts[b].even[i] = start;
      }
      const int64_t distance = prefetch_distance<kBlocks>(w, step - bytes);
      for (int64_t c = begin; c < end; c += Values::kColumns) {
        if constexpr (kPrefetch == Prefetch::kInOrder) ahead.lines<kBlocks * Values::kLines>();
#pragma GCC unroll 2
        for (int b = 0; b < kBlocks; ++b) {
          if constexpr (kPrefetch == Prefetch::kEach) {
            prefetch_step<Values::kLines>(step + b * w.block_bytes, distance);
          }
          add_step<Values, kM>(parts[b], values[b < kLast ? b : kLast], step + b * w.block_bytes,
                               x.values + c, x.stride);
        }
        step += Values::kLines * 64;
      }
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) {
        const __m512 scale = _mm512_set1_ps(x.scales[i * x.segments + s]);
#pragma GCC unroll 2
        for (int b = 0; b < kBlocks; ++b) {
          __m512i odd = parts[b].odd[i];
          if constexpr (Values::kWide) odd = _mm512_slli_epi32(odd, 8);
          const __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(parts[b].even[i], odd));
          sums[b][i] = _mm512_fmadd_ps(scale, sum, sums[b][i]);
        }
      }
    }
    if constexpr (kPrefetch == Prefetch::kInOrder) ahead.finish(g, w.groups);
#pragma GCC unroll 2
    for (int b = 0; b < kBlocks; ++b) {
      if constexpr (kPrefetch == Prefetch::kEach) {
        prefetch_scales(w, bytes + (b + kBlocks) * w.block_bytes, g);
      }
      const Scales scales = load_scales(w, bytes + b * w.block_bytes, g);
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) {
        const __m512 group_sum = _mm512_set1_ps(x.group_sums[i * w.groups + g]);
        y[b][i] = _mm512_fmadd_ps(scales.a, sums[b][i], y[b][i]);
        y[b][i] = _mm512_fmadd_ps(scales.b, group_sum, y[b][i]);
      }
    }
  }
#pragma GCC unroll 2
  for (int b = 0; b < kBlocks; ++b) {
    const __mmask16 rows = rows_of_block(w, block + b);
#pragma GCC unroll 4
    for (int i = 0; i < kM; ++i) {
      _mm512_mask_storeu_ps(args.y + i * args.y_stride + (block + b) * 16, rows, y[b][i]);
    }
  }
}

/// One row of activations takes two blocks at once where lines are asked for, which keeps more sums
/// going. A function of its own, so that no other way to read takes registers from the sums.
template <class Values, int kM, Prefetch kPrefetch>
[[gnu::noinline]] void gemv(const MatmulArgs& args) {
  int64_t block = args.block_begin;
  if constexpr (kM == 1 && kPrefetch != Prefetch::kNone) {
    Values two[kObjects<Values, 2>];
    for (Values& values : two) values.load_matrix(*args.weights);
    for (; block + 2 <= args.block_end; block += 2) {
      gemv_blocks<Values, kM, 2, kPrefetch>(args, two, block);
    }
  }
  Values one[1];
  one[0].load_matrix(*args.weights);
  for (; block < args.block_end; ++block) gemv_blocks<Values, kM, 1, kPrefetch>(args, one, block);
}

template <class Values, int kM>
void gemv(const MatmulArgs& args) {
  switch (prefetch_of(*args.weights, kM)) {
    case Prefetch::kNone:
      if constexpr (kM == 1) gemv<Values, kM, Prefetch::kNone>(args);
      return;
    case Prefetch::kInOrder:
      return gemv<Values, kM, Prefetch::kInOrder>(args);
    case Prefetch::kEach:
      return gemv<Values, kM, Prefetch::kEach>(args);
  }
}

/// Any number of rows, four at a time.
template <class Values>
void gemv_rows(const MatmulArgs& args) {
  MatmulArgs part = args;
  int64_t left = args.m;
  while (left > 0) {
    switch (left) {
      case 1:
        gemv<Values, 1>(part);
        return;
      case 2:
        gemv<Values, 2>(part);
        return;
      case 3:
        gemv<Values, 3>(part);
        return;
      default:
        gemv<Values, 4>(part);
    }
    left -= 4;
    part.x.values += 4 * part.x.stride;
    part.x.scales += 4 * part.x.segments;
    part.x.sums += 4 * part.x.segments;
    part.x.group_sums += 4 * part.weights->groups;
    part.y += 4 * part.y_stride;
  }
}

}  // namespace

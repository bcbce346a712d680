// Internal to kernels/avx512vnni: the product with one to four rows of activations. One block of 16
// rows at a time, one contiguous stream of bytes; lines are unpacked once for all rows.
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

/// `odd` holds every second product, or those of the high bytes of wide values.
template <class Values, int kM>
void gemv(const MatmulArgs& args) {
  const PackedView& w = *args.weights;
  const Int8Rows& x = args.x;
  const int64_t per_group = (w.group + x.segment - 1) / x.segment;
  Values values;
  values.load_matrix(w);
  for (int64_t block = args.block_begin; block < args.block_end; ++block) {
    const uint8_t* bytes = w.blob + block * w.block_bytes;
    __m512 y[kM];
#pragma GCC unroll 4
    for (int i = 0; i < kM; ++i) y[i] = _mm512_setzero_ps();
    for (int64_t g = 0; g < w.groups; ++g) {
      values.load_group(w, bytes, g);
      const uint8_t* step = bytes + g * w.group_bytes;
      __m512 sums[kM];
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) sums[i] = _mm512_setzero_ps();
      const int64_t segment_end =
          (g + 1) * per_group < x.segments ? (g + 1) * per_group : x.segments;
      for (int64_t s = g * per_group; s < segment_end; ++s) {
        const int64_t begin = s * x.segment;
        const int64_t end = begin + x.segment < w.cols ? begin + x.segment : w.cols;
        __m512i even[kM], odd[kM];
#pragma GCC unroll 4
        for (int i = 0; i < kM; ++i) {
          even[i] = _mm512_set1_epi32(-static_cast<int32_t>(w.bias) * x.sums[i * x.segments + s]);
          odd[i] = _mm512_setzero_si512();
        }
        for (int64_t c = begin; c < end; c += Values::kColumns) {
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
              const __m512i four = four_columns(x.values + i * x.stride + c + 4 * j);
              if constexpr (Values::kWide) {
                even[i] = _mm512_dpbusd_epi32(even[i], u, four);
                odd[i] = _mm512_dpbusd_epi32(odd[i], high, four);
              } else if (j % 2 == 0) {
                even[i] = _mm512_dpbusd_epi32(even[i], u, four);
              } else {
                odd[i] = _mm512_dpbusd_epi32(odd[i], u, four);
              }
            }
          }
          step += Values::kLines * 64;
        }
#pragma GCC unroll 4
        for (int i = 0; i < kM; ++i) {
          if constexpr (Values::kWide) odd[i] = _mm512_slli_epi32(odd[i], 8);
          const __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(even[i], odd[i]));
          sums[i] = _mm512_fmadd_ps(_mm512_set1_ps(x.scales[i * x.segments + s]), sum, sums[i]);
        }
      }
      const Scales scales = load_scales(w, bytes, g);
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) {
        y[i] = _mm512_fmadd_ps(scales.a, sums[i], y[i]);
        y[i] = _mm512_fmadd_ps(scales.b, _mm512_set1_ps(x.group_sums[i * w.groups + g]), y[i]);
      }
    }
    const __mmask16 rows = rows_of_block(w, block);
#pragma GCC unroll 4
    for (int i = 0; i < kM; ++i) {
      _mm512_mask_storeu_ps(args.y + i * args.y_stride + block * 16, rows, y[i]);
    }
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

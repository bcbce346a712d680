// Internal to kernels/avx2 and kernels/avx512: the product with one to four rows of activations.
// One block of 16 rows at a time, one contiguous stream of bytes; lines are unpacked once for all
// rows.
#pragma once

#include "kernels/pairs/weights.h"

namespace {

/// Adds the products of the columns from `x` and `step` on to acc.
template <class Values, int kM>
[[gnu::always_inline]] inline void add_narrow(const Values& values, const uint8_t* step,
                                              const int8_t* x, int64_t stride, int64_t columns,
                                              int unit, Ints (&acc)[kM]) {
  constexpr int kStep = Values::kColumns / 4;  // vectors
  const Ints units = set_16(unit);
  int64_t c = 0;
  for (; c + 32 <= columns || (Values::kColumns == 32 && c < columns); c += 32) {
    Ints part[kM];
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q) {
      const Ints u = values.value(step + q / kStep * Values::kStepBytes, q % kStep);
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) {
        const Ints pair = multiply_bytes(u, four_columns(x + i * stride + c + 4 * q));
        part[i] = q % Values::kSums == 0 ? pair : add_16(part[i], pair);
        if ((q + 1) % Values::kSums == 0) acc[i] = add_32(acc[i], multiply_16(part[i], units));
      }
    }
    step += 8 / kStep * Values::kStepBytes;
  }
  for (; c < columns; c += Values::kColumns) {
#pragma GCC unroll 4
    for (int j = 0; j < kStep; ++j) {
      const Ints u = values.value(step, j);
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) {
        const Ints pair = multiply_bytes(u, four_columns(x + i * stride + c + 4 * j));
        acc[i] = add_32(acc[i], multiply_16(pair, units));
      }
    }
    step += Values::kStepBytes;
  }
}

template <class Values, int kM>
[[gnu::always_inline]] inline void add_wide(const Values& values, const uint8_t* step,
                                            const WideRows& x, int64_t begin, int64_t end,
                                            Ints (&acc)[kM]) {
  for (int64_t c = begin; c < end; c += Values::kColumns) {
#pragma GCC unroll 8
    for (int j = 0; j < Values::kColumns / 4; ++j) {
      const Ints w = values.value(step, j);
      const Ints even = even_columns(w), odd = odd_columns(w);
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) {
        const int64_t at = i * x.stride + c + 4 * j;
        acc[i] = add_32(acc[i], multiply_16(even, four_columns(x.even + at)));
        acc[i] = add_32(acc[i], multiply_16(odd, four_columns(x.odd + at)));
      }
    }
    step += Values::kStepBytes;
  }
#pragma GCC unroll 4
  for (int i = 0; i < kM; ++i) {
    acc[i] = arithmetic_right_32(acc[i], kWideShift);
  }
}

/// The sums of segment s, columns [begin, end), for one vector of rows; `step` holds the first
/// columns.
template <class Values, int kM>
[[gnu::always_inline]] inline void segment_sums(const Values& values, const PackedView& w,
                                                const Int8Rows& x, const WideRows& wide,
                                                const uint8_t* step, int64_t s, int64_t begin,
                                                int64_t end, Floats (&sums)[kM]) {
  Ints acc[kM];
  if constexpr (Values::kWide) {
#pragma GCC unroll 4
    for (int i = 0; i < kM; ++i) acc[i] = zero_ints();
    add_wide<Values, kM>(values, step, wide, begin, end, acc);
  } else {
    const Meaning meaning = values.meaning(w);
#pragma GCC unroll 4
    for (int i = 0; i < kM; ++i) acc[i] = set_32(meaning.offset * x.sums[i * x.segments + s]);
    add_narrow<Values, kM>(values, step, x.values + begin, x.stride, end - begin, meaning.unit,
                           acc);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kM; ++i) {
    const Floats scale = set_float(x.scales[i * x.segments + s]);
    sums[i] = multiply_add(scale, to_floats(acc[i]), sums[i]);
  }
}

/// Group g of a block: y += a S + b X, for one vector of rows. A function of its own, so that what
/// lives across groups takes no registers from the sums.
template <class Values, int kM>
[[gnu::noinline]] void add_group(const Values& values, const MatmulArgs& args, const WideRows& wide,
                                 const uint8_t* block, int64_t g, int part, Floats (&y)[kM]) {
  const PackedView& w = *args.weights;
  const Int8Rows& x = args.x;
  const int64_t per_group = (w.group + x.segment - 1) / x.segment;
  const int64_t last = (g + 1) * per_group < x.segments ? (g + 1) * per_group : x.segments;
  const uint8_t* step = block + g * w.group_bytes + part * kVectorBytes;
  const int64_t segment_bytes = x.segment / Values::kColumns * Values::kStepBytes;
  Floats sums[kM];
#pragma GCC unroll 4
  for (int i = 0; i < kM; ++i) sums[i] = zero_floats();
  for (int64_t s = g * per_group; s < last; ++s) {
    const int64_t begin = s * x.segment;
    const int64_t end = begin + x.segment < w.cols ? begin + x.segment : w.cols;
    segment_sums<Values, kM>(values, w, x, wide, step, s, begin, end, sums);
    step += segment_bytes;
  }
  const Scales scales = load_scales(w, block, g, part);
#pragma GCC unroll 4
  for (int i = 0; i < kM; ++i) {
    y[i] = multiply_add(scales.a, sums[i], y[i]);
    y[i] = multiply_add(scales.b, set_float(x.group_sums[i * w.groups + g]), y[i]);
  }
}

template <class Values, int kM>
void gemv(const MatmulArgs& args) {
  const PackedView& w = *args.weights;
  WideRows wide = {};
  if constexpr (Values::kWide) wide = widen_rows(args.x, kM, args.scratch);
  Values values;
  values.load_matrix(w);
  for (int64_t block = args.block_begin; block < args.block_end; ++block) {
    const uint8_t* bytes = w.blob + block * w.block_bytes;
    // Both halves of a block before the next group's lines: they share lines.
    Floats y[kLineVectors][kM];
#pragma GCC unroll 2
    for (int part = 0; part < kLineVectors; ++part) {
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) y[part][i] = zero_floats();
    }
    for (int64_t g = 0; g < w.groups; ++g) {
      for (int part = 0; part < kLineVectors; ++part) {
        values.load_group(w, bytes, g, part);
        add_group<Values, kM>(values, args, wide, bytes, g, part, y[part]);
      }
    }
#pragma GCC unroll 2
    for (int part = 0; part < kLineVectors; ++part) {
      const int64_t row = block * 16 + part * kVectorRows;
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) {
        store_first(args.y + i * args.y_stride + row, y[part][i], w.rows - row);
      }
    }
  }
}

constexpr int64_t kMostGemvRows = 4;

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
    left -= kMostGemvRows;
    part.x.values += kMostGemvRows * part.x.stride;
    part.x.scales += kMostGemvRows * part.x.segments;
    part.x.sums += kMostGemvRows * part.x.segments;
    part.x.group_sums += kMostGemvRows * part.weights->groups;
    part.y += kMostGemvRows * part.y_stride;
  }
}

/// Of gemv_rows with wide values.
int64_t gemv_scratch_bytes(const PackedView& w, int64_t m) {
  const int64_t stride =
      (w.cols + twofold::kInt8Padding - 1) / twofold::kInt8Padding * twofold::kInt8Padding;
  return wide_bytes(m < kMostGemvRows ? m : kMostGemvRows, stride);
}

}  // namespace

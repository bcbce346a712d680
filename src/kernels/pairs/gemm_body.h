// The kernels of kernels/<isa>/gemm.cpp: products with many rows of activations. 32 rows of weights
// are unpacked once to slabs of bytes, then multiplied in register blocks of one vector of rows by
// kGemmRows rows of activations.
//
// Slab of a vector of rows: [columns / 4][kVectorRows][4 columns]; columns are padded to
// kInt8Padding.
#pragma once

#include "kernels/pairs/trellis.h"
#include "kernels/pairs/weights.h"
#include "kernels/tables.h"

namespace {

using twofold::Kernel;
using twofold::WeightKind;
using twofold::WeightValues;

int64_t padded_columns(const PackedView& w) {
  return (w.cols + twofold::kInt8Padding - 1) / twofold::kInt8Padding * twofold::kInt8Padding;
}
int64_t slab_bytes(const PackedView& w) { return kVectorRows * padded_columns(w); }

/// Blocks whose slabs are multiplied by the same rows of activations in turn.
constexpr int64_t kSlabBlocks = 2;
constexpr int64_t kMostSlabs = kSlabBlocks * kLineVectors;

int64_t scratch_bytes(const PackedView& w, int64_t /*m*/) {
  return kMostSlabs * slab_bytes(w) + wide_bytes(kGemmRows, padded_columns(w));
}

/// The values of a step, columns 4 j to 4 j + 3 in vector j.
template <class Values>
TWOFOLD_INLINE void unpack_step(const Values& values, const uint8_t* step,
                                Ints (&out)[Values::kColumns / 4]) {
  if constexpr (requires { values.unpack(step, out); }) {
    values.unpack(step, out);
  } else {
#pragma GCC unroll 8
    for (int j = 0; j < Values::kColumns / 4; ++j) out[j] = values.value(step, j);
  }
}

template <class Values>
[[gnu::noinline]] void unpack(const PackedView& w, const Values& matrix, const uint8_t* block,
                              int part, uint8_t* slab) {
  Values values = matrix;
  for (int64_t g = 0; g < w.groups; ++g) {
    values.load_group(w, block, g, part);
    const int64_t begin = g * w.group;
    const int64_t cols = begin + w.group < w.cols ? w.group : w.cols - begin;
    const uint8_t* step = block + g * w.group_bytes + part * kVectorBytes;
    uint8_t* to = slab + begin * kVectorRows;
    for (int64_t c = 0; c < cols; c += Values::kColumns) {
      Ints vectors[Values::kColumns / 4];
      unpack_step(values, step, vectors);
#pragma GCC unroll 8
      for (int j = 0; j < Values::kColumns / 4; ++j) {
        store_bytes(to + kVectorBytes * j, vectors[j]);
      }
      step += Values::kStepBytes;
      to += Values::kColumns * kVectorRows;
    }
  }
}

/// Adds the products of `columns` columns, a multiple of 32 with the padding, times `unit`.
/// @param kSums pairs of products that are added in 16 bits.
template <int kSums, int kM>
[[gnu::always_inline]] inline void multiply_narrow(const uint8_t* slab, const int8_t* x,
                                                   int64_t stride, int64_t columns, int unit,
                                                   Ints (&acc)[kM]) {
  const Ints units = set_16(unit);
  for (int64_t c = 0; c < columns; c += 4 * kSums) {
    Ints part[kM];
#pragma GCC unroll 8
    for (int q = 0; q < kSums; ++q) {
      const Ints u = load_bytes(slab + q * kVectorBytes);
#pragma GCC unroll 12
      for (int i = 0; i < kM; ++i) {
        const Ints pair = multiply_bytes(u, four_columns(x + i * stride + c + 4 * q));
        part[i] = q == 0 ? pair : add_16(part[i], pair);
      }
    }
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i) acc[i] = add_32(acc[i], multiply_16(part[i], units));
    slab += kSums * kVectorBytes;
  }
}

template <int kM>
[[gnu::always_inline]] inline void multiply_wide(const uint8_t* slab, const WideRows& x,
                                                 int64_t begin, int64_t end, Ints (&acc)[kM]) {
  for (int64_t c = begin; c < end; c += 4) {
    const Ints w = load_bytes(slab);
    const Ints even = even_columns(w), odd = odd_columns(w);
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i) {
      const int64_t at = i * x.stride + c;
      acc[i] = add_32(acc[i], multiply_16(even, four_columns(x.even + at)));
      acc[i] = add_32(acc[i], multiply_16(odd, four_columns(x.odd + at)));
    }
    slab += kVectorBytes;
  }
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) acc[i] = arithmetic_right_32(acc[i], kWideShift);
}

/// Group g of `part` of `block`: total += a S + b X, for kM rows of activations. A function of its
/// own, so that what lives across groups takes no registers from the sums.
/// @param kSums as in multiply_narrow, or 0: wide values
/// @param meaning of the bytes of the slab
template <int kSums, int kM>
[[gnu::noinline]] void add_group(const PackedView& w, const Meaning& meaning, const Int8Rows& x,
                                 const WideRows& wide, const uint8_t* slab, int64_t block, int part,
                                 int64_t g, Floats (&total)[kM]) {
  const int64_t per_group = (w.group + x.segment - 1) / x.segment;
  Floats sums[kM];
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) sums[i] = zero_floats();
  const int64_t last = (g + 1) * per_group < x.segments ? (g + 1) * per_group : x.segments;
  for (int64_t s = g * per_group; s < last; ++s) {
    const int64_t begin = s * x.segment;
    const int64_t end = begin + x.segment < w.cols ? begin + x.segment : w.cols;
    const uint8_t* from = slab + begin * kVectorRows;
    Ints acc[kM];
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i) {
      acc[i] = kSums == 0 ? zero_ints() : set_32(meaning.offset * x.sums[i * x.segments + s]);
    }
    if constexpr (kSums == 0) {
      multiply_wide<kM>(from, wide, begin, end, acc);
    } else {
      multiply_narrow<kSums, kM>(from, x.values + begin, x.stride, end - begin, meaning.unit, acc);
    }
#pragma GCC unroll 12
    for (int i = 0; i < kM; ++i) {
      const Floats scale = set_float(x.scales[i * x.segments + s]);
      sums[i] = multiply_add(scale, to_floats(acc[i]), sums[i]);
    }
  }
  const Scales scales = load_scales(w, w.blob + block * w.block_bytes, g, part);
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) {
    total[i] = multiply_add(scales.a, sums[i], total[i]);
    total[i] = multiply_add(scales.b, set_float(x.group_sums[i * w.groups + g]), total[i]);
  }
}

/// All columns for one vector of rows, `part` of `block`, and kM rows of activations.
template <int kSums, int kM>
void multiply_tile(const MatmulArgs& args, const Meaning& meaning, const Int8Rows& x,
                   const WideRows& wide, const uint8_t* slab, int64_t block, int part, float* y) {
  const PackedView& w = *args.weights;
  Floats total[kM];
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) total[i] = zero_floats();
  for (int64_t g = 0; g < w.groups; ++g) {
    add_group<kSums, kM>(w, meaning, x, wide, slab, block, part, g, total);
  }
  const int64_t row = block * 16 + part * kVectorRows;
#pragma GCC unroll 12
  for (int i = 0; i < kM; ++i) store_first(y + i * args.y_stride + row, total[i], w.rows - row);
}

/// multiply_tile for up to kM rows of activations.
template <int kSums, int kM>
void multiply_rows(int64_t rows, const MatmulArgs& args, const Meaning& meaning, const Int8Rows& x,
                   const WideRows& wide, const uint8_t* slab, int64_t block, int part, float* y) {
  if constexpr (kM > 1) {
    if (rows < kM) {
      multiply_rows<kSums, kM - 1>(rows, args, meaning, x, wide, slab, block, part, y);
      return;
    }
  }
  multiply_tile<kSums, kM>(args, meaning, x, wide, slab, block, part, y);
}

/// Blocks [block, block + blocks), whose slabs are in the scratch memory.
template <int kSums>
void multiply_slabs(const MatmulArgs& args, const Meaning& meaning, int64_t block, int64_t blocks) {
  const PackedView& w = *args.weights;
  Int8Rows x = args.x;
  float* y = args.y;
  for (int64_t i = 0; i < args.m; i += kGemmRows) {
    const int64_t rows = args.m - i < kGemmRows ? args.m - i : kGemmRows;
    WideRows wide = {};
    if constexpr (kSums == 0) {
      wide = widen_rows(x, rows, args.scratch + kMostSlabs * slab_bytes(w));
    }
    for (int64_t v = 0; v < blocks * kLineVectors; ++v) {
      const uint8_t* slab = args.scratch + v * slab_bytes(w);
      const int part = static_cast<int>(v % kLineVectors);
      multiply_rows<kSums, kGemmRows>(rows, args, meaning, x, wide, slab, block + v / kLineVectors,
                                      part, y);
    }
    x.values += kGemmRows * x.stride;
    x.scales += kGemmRows * x.segments;
    x.sums += kGemmRows * x.segments;
    x.group_sums += kGemmRows * w.groups;
    y += kGemmRows * args.y_stride;
  }
}

/// @param kSums as in add_group
/// @param matrix what all blocks share
template <int kSums, class Values>
void gemm_with(const MatmulArgs& args, const Values& matrix, const Meaning& meaning) {
  const PackedView& w = *args.weights;
  for (int64_t block = args.block_begin; block < args.block_end; block += kSlabBlocks) {
    const int64_t left = args.block_end - block, blocks = left < kSlabBlocks ? left : kSlabBlocks;
    for (int64_t v = 0; v < blocks * kLineVectors; ++v) {
      unpack<Values>(w, matrix, w.blob + (block + v / kLineVectors) * w.block_bytes,
                     static_cast<int>(v % kLineVectors), args.scratch + v * slab_bytes(w));
    }
    multiply_slabs<kSums>(args, meaning, block, blocks);
  }
}

template <class Values>
void gemm(const MatmulArgs& args) {
  Values matrix;
  matrix.load_matrix(*args.weights);
  if constexpr (Values::kWide) {
    gemm_with<0>(args, matrix, {});
  } else {
    gemm_with<Values::kSums>(args, matrix, matrix.meaning(*args.weights));
  }
}

/// With one table: levels that lie close together or in large steps, as powers of two and the
/// levels of trellises do, are multiplied as unsigned bytes.
template <class Values>
void gemm_table(const MatmulArgs& args) {
  const PackedView& w = *args.weights;
  const LevelBytes bytes = level_bytes(w.shared_table, Values::kLevels);
  Values matrix;
  matrix.load_matrix(w, bytes.meaning);
  switch (sums_in_16_bits(bytes.largest)) {
    case 8:
      return gemm_with<8>(args, matrix, bytes.meaning);
    case 4:
      return gemm_with<4>(args, matrix, bytes.meaning);
    case 2:
      return gemm_with<2>(args, matrix, bytes.meaning);
    case 1:
      return gemm_with<1>(args, matrix, bytes.meaning);
    default:
      return gemm<Values>(args);
  }
}

template <WeightValues kValues, int kBits>
bool accepts(const WeightKind& kind) {
  return kind.values == kValues && kind.bits == kBits && !kind.planes;
}

using Run = void (*)(const MatmulArgs& args);
using Accepts = bool (*)(const WeightKind& kind);

constexpr Kernel kernel(const char* name, Accepts takes, Run run) {
  return {.name = name,
          .isa = TWOFOLD_KERNEL_ISA,
          .min_m = 5,
          .max_m = INT64_MAX,
          .accepts = takes,
          .scratch_bytes = scratch_bytes,
          .run = run};
}
template <int kBits>
constexpr Kernel affine(const char* name) {
  return kernel(name, accepts<WeightValues::kAffine, kBits>, gemm<AffineValues<kBits>>);
}
template <int kBits>
constexpr Kernel shared(const char* name) {
  return kernel(name, accepts<WeightValues::kTable, kBits>, gemm_table<TableValues<kBits>>);
}
template <int kBits>
constexpr Kernel by_row(const char* name) {
  return kernel(name, accepts<WeightValues::kRowTable, kBits>, gemm<RowTableValues<kBits>>);
}
template <int kBits, int kWindow>
constexpr Kernel trellis(const char* name) {
  return kernel(name, accepts_windows<kBits, kWindow>, gemm_table<TrellisValues<kBits, kWindow>>);
}

constexpr Kernel kKernels[] = {
    affine<2>("gemm-affine2" TWOFOLD_KERNEL_SUFFIX),
    affine<3>("gemm-affine3" TWOFOLD_KERNEL_SUFFIX),
    affine<4>("gemm-affine4" TWOFOLD_KERNEL_SUFFIX),
    affine<5>("gemm-affine5" TWOFOLD_KERNEL_SUFFIX),
    affine<6>("gemm-affine6" TWOFOLD_KERNEL_SUFFIX),
    affine<7>("gemm-affine7" TWOFOLD_KERNEL_SUFFIX),
    affine<8>("gemm-affine8" TWOFOLD_KERNEL_SUFFIX),
    shared<2>("gemm-table2" TWOFOLD_KERNEL_SUFFIX),
    shared<3>("gemm-table3" TWOFOLD_KERNEL_SUFFIX),
    shared<4>("gemm-table4" TWOFOLD_KERNEL_SUFFIX),
    shared<5>("gemm-table5" TWOFOLD_KERNEL_SUFFIX),
    shared<6>("gemm-table6" TWOFOLD_KERNEL_SUFFIX),
    shared<7>("gemm-table7" TWOFOLD_KERNEL_SUFFIX),
    shared<8>("gemm-table8" TWOFOLD_KERNEL_SUFFIX),
    by_row<2>("gemm-rowtable2" TWOFOLD_KERNEL_SUFFIX),
    by_row<3>("gemm-rowtable3" TWOFOLD_KERNEL_SUFFIX),
    by_row<4>("gemm-rowtable4" TWOFOLD_KERNEL_SUFFIX),
    by_row<5>("gemm-rowtable5" TWOFOLD_KERNEL_SUFFIX),
    by_row<6>("gemm-rowtable6" TWOFOLD_KERNEL_SUFFIX),
    trellis<1, 12>("gemm-trellis1" TWOFOLD_KERNEL_SUFFIX),
    trellis<2, 12>("gemm-trellis2" TWOFOLD_KERNEL_SUFFIX),
    trellis<3, 12>("gemm-trellis3" TWOFOLD_KERNEL_SUFFIX),
    trellis<4, 12>("gemm-trellis4" TWOFOLD_KERNEL_SUFFIX),
    trellis<1, 6>("gemm-trellis1s" TWOFOLD_KERNEL_SUFFIX),
    trellis<2, 6>("gemm-trellis2s" TWOFOLD_KERNEL_SUFFIX),
    trellis<3, 6>("gemm-trellis3s" TWOFOLD_KERNEL_SUFFIX),
};

}  // namespace

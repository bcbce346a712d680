// Kernels: products of packed weights with activations rounded to int8. Plain data only, because
// the files of single instruction sets include this header.
//
// What every kernel computes, bit for bit, whatever its instruction set and the number of rows:
// u is the unsigned number a code stands for (itself, or its level + bias), x ~ scale * value.
//
//   I[r, s] = sum over the columns c of segment s of (u[r, c] - bias) value[c]           (int32)
//   S[r, g] = fma(scale[s], float(I[r, s]), S)     over the segments s of group g, in order
//   y[r]    = fma(b[r, g], X[g], fma(a[r, g], S[r, g], y[r]))      over the groups g, in order
//
// with X[g] = sum of scale[s] float(sum of value) over the segments of g, added as S is, and
//   affine   a = scale,                 b = -(scale (zero - bias)), bias = 2^(bits - 1)
//   tables   a = scale 2^exponent,      b = offset or 0,            bias = 128 or 32768
//   trellis  as a table of int8 levels, of which the index of a window picks one (trellis_code.h)
#pragma once

#include <cstdint>

#include "base/isa.h"

namespace twofold {

/// Columns that every step of a code divides, and that segments are multiples of.
constexpr int64_t kSumColumns = 32;
/// Rows of int8 activations are padded with zeros to a multiple of this.
constexpr int64_t kInt8Padding = 64;

/// Rows of activations in a tile of the AMX unit, and fewest of them that are laid out in tiles.
constexpr int64_t kTileRows = 16;
constexpr int64_t kFewestTileRows = 8;

/// Scale of a block of activations and what they are multiplied by before rounding.
struct BlockScale {
  float scale, inverse;
};
/// @param largest magnitude in the block. Blocks that are as good as zero become zero; one with a
/// number that is not finite gets zeros and a scale that is not a number, so that results show it.
[[gnu::always_inline]] static inline BlockScale block_scale(float largest) {
  if (!(largest < __builtin_inff())) return {__builtin_nanf(""), 0};
  if (largest < 0x1p-100f) return {0, 0};
  return {largest / 127.0f, 127.0f / largest};
}

enum class WeightValues : uint8_t {
  kAffine,     // u = code
  kTable,      // one table of int8 levels for the matrix
  kRowTable,   // a table of int8 levels per row or group
  kWideTable,  // one table of int16 levels for the matrix
  kTrellis     // one table of 64 int8 levels for the matrix, windows of a bit stream
};

/// What decides which kernel can multiply a matrix.
struct WeightKind {
  WeightValues values = WeightValues::kAffine;
  int bits = 0;         // of a code; of a weight in the stream of a trellis
  bool planes = false;  // codes as bit planes, tables as the integers of the planes
  int window = 0;       // bits of a window of a trellis
};

/// A packed matrix as kernels read it: the bytes and offsets of formats/r16_layout.h.
struct PackedView {
  WeightKind kind;
  const uint8_t* blob = nullptr;
  int64_t rows = 0, cols = 0, blocks = 0, block_bytes = 0;
  int64_t group = 0, groups = 0, group_bytes = 0;
  int64_t scales_at = 0, zeros_at = 0, offsets_at = 0, tables_at = 0;
  int64_t table_bytes = 0;  // of one row's table
  int64_t scale_sets = 0;   // per row: groups, 1, or 0: matrix_scale
  int64_t table_sets = 0;   // per row: groups, 1, or 0: shared_table
  int zero_bytes = 0;       // of a stored zero: 0, 1 or 2
  bool has_offset = false;
  float matrix_scale = 0;
  float power = 1;       // 2^exponent of tables
  float fixed_zero = 0;  // if none is stored per row
  float bias = 0;
  const uint8_t* shared_table = nullptr;
  const uint8_t* mixing = nullptr;  // of a trellis, [6]
  int streams = 1;  // blocks that one row of activations reads side by side, see memory_streams()
};

/// Rows of activations in int8 for one partition into segments; see the top of this file.
struct Int8Rows {
  const int8_t* values = nullptr;     // [rows, stride], 64-byte aligned, zero from cols on
  int64_t stride = 0;                 // a multiple of kInt8Padding
  int64_t segment = 0;                // columns; divides the group, or is as long as a block
  int64_t segments = 0;               // of a row
  const float* scales = nullptr;      // [rows, segments]
  const int32_t* sums = nullptr;      // [rows, segments], of the values
  const float* group_sums = nullptr;  // [rows, groups of the weights], X above
  // The same for kernels of AMX, if there are kFewestTileRows or more: rows in tiles, zero where
  // there are none.
  int64_t tile_rows = 0;               // rows rounded up to tiles, to pairs of them above one
  const int8_t* tiles = nullptr;       // [tile_rows / kTileRows, stride / 64, kTileRows, 64]
  const float* tile_scales = nullptr;  // [segments, tile_rows]
  const float* tile_sums = nullptr;    // [groups of the weights, tile_rows], X above
};

/// y[i, r] for all rows i of activations and the weight rows of blocks [block_begin, block_end).
struct MatmulArgs {
  const PackedView* weights = nullptr;
  Int8Rows x;
  int64_t m = 0;
  float* y = nullptr;  // [m, rows], stride y_stride; row r of the weights is column r
  int64_t y_stride = 0;
  int64_t block_begin = 0, block_end = 0;  // of 16 rows
  uint8_t* scratch = nullptr;              // scratch_bytes of the kernel, 64-byte aligned
};

struct Kernel {
  const char* name = nullptr;
  Isa isa = Isa::kScalar;
  int64_t min_m = 0, max_m = 0;  // rows of activations it is made for
  bool (*accepts)(const WeightKind& kind) = nullptr;
  int64_t (*scratch_bytes)(const PackedView& weights, int64_t m) = nullptr;  // null: none
  void (*run)(const MatmulArgs& args) = nullptr;
  /// With scratch: one range of blocks for each thread, as without, not parts of it by turns.
  bool contiguous = false;
  /// Blocks of weights that a call with scratch memory makes good use of, at most.
  int64_t most_blocks = 2;
};

}  // namespace twofold

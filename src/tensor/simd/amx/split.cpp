// Products of floats, each split into three bfloat16, on AMX tiles.
//
// x = x1 + x2 + x3 exactly: x1 is x without its 16 low bits, x2 the same of x - x1, x3 the rest; 8
// bits of significand each, of equal sign, |x2| < 2^-7 |x| and |x3| < 2^-15 |x|. Truncating cannot
// overflow. A number that is not finite has x2 = NaN, so that everything it meets is NaN. Of
// the nine products of parts, six are summed:
//   x3 w1, x1 w1, x1 w3, x1 w2, x2 w2, x2 w1
//
// Error of a sum of K products, with u = 2^-24 the rounding of float32:
//   dropped     |x2 w3 + x3 w2 + x3 w3| < (2^-21 + 2^-30) |x w|
//   TDPBF16PS   two chains of 16 fused products (the first is exact), their sum, the sum with the
//               tile: at most 15 + 1 roundings before a number of the tile, then one for each
//               TDPBF16PS that follows, fewer than 6 ceil(K / 32); parts have one sign, so sums of
//               their magnitudes are those of x and w
//   together    (25 + 6 ceil(K / 32)) u sum |x w|, to first order
//   underflow   parts and sums below 2^-126 count as zero: 2^-126 (sum |x| + sum |w|) for the
//               parts, 2^-126 for each of at most 34 operations of a TDPBF16PS
// Products of parts that are zero change nothing, so they may be left out.
//
// 2 x 2 tiles of sums, two tiles of a part of each side: a step of 32 columns takes 24 TDPBF16PS of
// 16 cycles, and 14 loads of tiles, because the order above changes one side at a time.
#include "base/amx_tiles.h"
#include "tensor/simd/avx512/transpose16.h"
#include "tensor/simd/tables.h"

namespace twofold {
namespace {

constexpr int64_t kTileBytes = 1024;
constexpr int64_t kPartBytes = 2 * kTileBytes;
constexpr int64_t kStepBytes = 3 * kPartBytes;
static_assert(kStepBytes == SplitTiles::kStepFloats * 4);
constexpr int64_t kStepColumns = SplitTiles::kSide;

// Parts of pairs of numbers: low halves of lanes hold those of `low`, high halves those of `high`.
// Stores a line to each part's tile. Returns whether the second and the third are needed.
struct Needed {
  __m512i second, third;  // bits that are set
};
inline void split_pairs(Vec low, Vec high, uint8_t* line, Needed& needed) {
  const __m512i kept = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  __m512i parts[3];
#pragma GCC unroll 3
  for (int p = 0; p < 3; ++p) {
    const __m512i low_bits = _mm512_castps_si512(low), high_bits = _mm512_castps_si512(high);
    const __m512i high_part = _mm512_and_si512(high_bits, kept);
    parts[p] = _mm512_or_si512(_mm512_srli_epi32(low_bits, 16), high_part);
    _mm512_store_si512(line + p * kPartBytes, parts[p]);
    low = sub(low, _mm512_castsi512_ps(_mm512_and_si512(low_bits, kept)));
    high = sub(high, _mm512_castsi512_ps(high_part));
  }
  needed.second = _mm512_or_si512(needed.second, parts[1]);
  needed.third = _mm512_or_si512(needed.third, parts[2]);
}

inline Vec load_first(const float* from, int64_t n) {
  if (n >= kLanes) return load(from);
  return n <= 0 ? set1(0) : load_part(from, n, 0);
}

void split_left(const float* x, int64_t x_stride, int64_t rows, int64_t depth, float* left) {
  const int64_t padded = (rows + kLanes - 1) / kLanes * kLanes;
  auto* step = reinterpret_cast<uint8_t*>(left);
  Needed ignored = {};
  for (int64_t k = 0; k < depth; k += kStepColumns) {
    for (int64_t r = 0; r < padded; ++r) {
      const float* from = x + r * x_stride + k;
      const int64_t columns = r < rows ? depth - k : 0;
      split_pairs(load_first(from, columns), load_first(from + kLanes, columns - kLanes),
                  step + r * 64, ignored);
    }
    step += kStepBytes;
  }
}

// A step [32 columns][16 rows] of the right side to its tile.
inline void split_step(const float* columns, int64_t stride, uint8_t* step, Needed& needed) {
  for (int64_t j = 0; j < kLanes; ++j) {
    split_pairs(load(columns + j * stride), load(columns + (j + kLanes) * stride), step + j * 64,
                needed);
  }
}

int split_right(const float* w, int64_t w_stride, int64_t rows, int64_t depth, float* right) {
  alignas(64) float columns[kStepColumns * kLanes], edge[kLanes * kStepColumns];
  auto* step = reinterpret_cast<uint8_t*>(right);
  Needed needed = {};
  for (int64_t k = 0; k < depth; k += kStepColumns) {
    const float* from = w + k;
    int64_t stride = w_stride;
    if (rows < kLanes || depth - k < kStepColumns) {
      for (int64_t r = 0; r < kLanes; ++r) {
        const int64_t count = r < rows ? depth - k : 0;
        store(edge + r * kStepColumns, load_first(from + r * stride, count));
        store(edge + r * kStepColumns + kLanes,
              load_first(from + r * stride + kLanes, count - kLanes));
      }
      from = edge;
      stride = kStepColumns;
    }
    transpose16(from, stride, columns, kLanes);
    transpose16(from + kLanes, stride, columns + kLanes * kLanes, kLanes);
    split_step(columns, kLanes, step, needed);
    step += kStepBytes;
  }
  if (_mm512_test_epi32_mask(needed.third, needed.third) != 0) return 3;
  return _mm512_test_epi32_mask(needed.second, needed.second) != 0 ? 2 : 1;
}

void split_columns(const float* x, int64_t x_stride, int64_t depth, int64_t cols, float* right) {
  alignas(64) float edge[kStepColumns * kLanes];
  auto* step = reinterpret_cast<uint8_t*>(right);
  Needed ignored = {};
  for (int64_t k = 0; k < depth; k += kStepColumns) {
    const float* from = x + k * x_stride;
    int64_t stride = x_stride;
    if (cols < kLanes || depth - k < kStepColumns) {
      for (int64_t j = 0; j < kStepColumns; ++j) {
        store(edge + j * kLanes, load_first(from + j * stride, k + j < depth ? cols : 0));
      }
      from = edge;
      stride = kLanes;
    }
    split_step(from, stride, step, ignored);
    step += kStepBytes;
  }
}

void begin() { _tile_loadconfig(&kWholeAmxTiles); }
void end() { _tile_release(); }

// Tiles 0 to 3 are sums [2 tiles of the left][2 of the right], 4 and 5 parts of the left side, 6
// and 7 of the right one. With a single tile of rows, 2, 3 and 5 stay unused.
template <int kTiles>
inline void add_products() {
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kTiles == 2) _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (kTiles == 2) _tile_dpbf16ps(3, 5, 7);
}

template <int kTiles>
inline void load_left(const uint8_t* part) {
  _tile_loadd(4, part, 64);
  if constexpr (kTiles == 2) _tile_loadd(5, part + kTileBytes, 64);
  add_products<kTiles>();
}

template <int kTiles>
inline void load_right(const uint8_t* part) {
  _tile_loadd(6, part, 64);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kTiles == 2) _tile_dpbf16ps(2, 5, 6);
  _tile_loadd(7, part + kTileBytes, 64);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (kTiles == 2) _tile_dpbf16ps(3, 5, 7);
}

template <int kTiles, int kParts>
inline void multiply_step(const uint8_t* left, const uint8_t* right) {
  _tile_loadd(6, right, 64);
  _tile_loadd(7, right + kTileBytes, 64);
  load_left<kTiles>(left + 2 * kPartBytes);
  load_left<kTiles>(left);
  if constexpr (kParts == 3) load_right<kTiles>(right + 2 * kPartBytes);
  if constexpr (kParts >= 2) load_right<kTiles>(right + kPartBytes);
  load_left<kTiles>(left + kPartBytes);
  if constexpr (kParts >= 2) load_right<kTiles>(right);
}

// y [16 kTiles, 32] (+)= left right^T.
template <int kTiles, int kParts>
void multiply_block(const uint8_t* left, const uint8_t* right, int64_t steps, float* y,
                    int64_t y_stride, bool accumulate) {
  const int64_t bytes = y_stride * 4;
  float* lower = y + SplitTiles::kTileRows * y_stride;
  if (accumulate) {
    _tile_loadd(0, y, bytes);
    _tile_loadd(1, y + kLanes, bytes);
    if constexpr (kTiles == 2) _tile_loadd(2, lower, bytes);
    if constexpr (kTiles == 2) _tile_loadd(3, lower + kLanes, bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t s = 0; s < steps; ++s) {
    multiply_step<kTiles, kParts>(left, right);
    left += kStepBytes;
    right += kStepBytes;
  }
  _tile_stored(0, y, bytes);
  _tile_stored(1, y + kLanes, bytes);
  if constexpr (kTiles == 2) _tile_stored(2, lower, bytes);
  if constexpr (kTiles == 2) _tile_stored(3, lower + kLanes, bytes);
}

using MultiplyBlock = void (*)(const uint8_t*, const uint8_t*, int64_t, float*, int64_t, bool);
constexpr MultiplyBlock kMultiplyBlock[2][3] = {
    {multiply_block<1, 1>, multiply_block<1, 2>, multiply_block<1, 3>},
    {multiply_block<2, 1>, multiply_block<2, 2>, multiply_block<2, 3>}};

// Copies [rows, cols] of y, cols <= 32, from or to whole tiles.
inline void copy_edge(const float* from, int64_t from_stride, float* to, int64_t to_stride,
                      int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; c += kLanes) {
      const int64_t count = cols - c < kLanes ? cols - c : kLanes;
      const __mmask16 lanes = first_lanes(count);
      _mm512_mask_storeu_ps(to + r * to_stride + c, lanes,
                            _mm512_maskz_loadu_ps(lanes, from + r * from_stride + c));
    }
  }
}

void multiply(const float* left, int64_t left_stride, int64_t rows, const float* right,
              int64_t steps, int parts, float* y, int64_t y_stride, int64_t cols, bool accumulate,
              const float* ahead) {
  constexpr int64_t kSide = SplitTiles::kSide;
  alignas(64) float edge[kSide * kSide] = {};
  const int64_t blocks = (rows + kSide - 1) / kSide;
  const int64_t lines = steps * kStepBytes / 64;
  for (int64_t b = 0; b < blocks; ++b) {
    if (ahead != nullptr) {
      for (int64_t i = lines * b / blocks; i < lines * (b + 1) / blocks; ++i) {
        __builtin_prefetch(ahead + i * 16, 0, 2);
      }
    }
    const int64_t height = rows - b * kSide < kSide ? rows - b * kSide : kSide;
    const int tiles = height > SplitTiles::kTileRows ? 2 : 1;
    const MultiplyBlock block = kMultiplyBlock[tiles - 1][parts - 1];
    const auto* from = reinterpret_cast<const uint8_t*>(left + b * left_stride);
    const auto* with = reinterpret_cast<const uint8_t*>(right);
    float* out = y + b * kSide * y_stride;
    if (cols == kSide && height == tiles * SplitTiles::kTileRows) {
      block(from, with, steps, out, y_stride, accumulate);
      continue;
    }
    if (accumulate) copy_edge(out, y_stride, edge, kSide, height, cols);
    block(from, with, steps, edge, kSide, accumulate);
    copy_edge(edge, kSide, out, y_stride, height, cols);
  }
}

}  // namespace

const SplitTiles kSplitTilesAmx = {
    .split_left = split_left,
    .split_right = split_right,
    .split_columns = split_columns,
    .begin = begin,
    .end = end,
    .multiply = multiply,
};

}  // namespace twofold

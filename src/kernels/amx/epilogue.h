// Internal to kernels/amx: from the int32 tiles of a few segments to float32 results.
#pragma once

#include "kernels/avx512vnni/weights.h"

namespace {

/// Segments whose tiles are kept before they are scaled: results are read and written once for all.
constexpr int kChunkSegments = 2;
/// Elements of an int32 tile, [16 rows of activations][16 rows of weights].
constexpr int64_t kTileElements = 256;

/// One tile of results, [rows of activations][16 rows of weights], over the segments of a chunk.
struct Part {
  const int32_t* integers;  // tile of the first segment
  const float* scales;      // [rows][kChunkSegments] of the activations
  const float* group_sums;  // [rows][kChunkSegments], one for each group of the chunk
  float* running;           // [rows][16], S of a group that other chunks go on with
  float* y;                 // [rows][16]
  const float *a, *b;       // [groups of the chunk][16]
};

/// A chunk of columns for up to 32 rows of activations and 32 rows of weights, to be scaled.
struct Unit {
  Part parts[4];
  void (*scale)(const Unit& u, const Part& p, int64_t begin, int64_t end) = nullptr;
  int64_t rows = 0;  // of activations in a part
  bool first_group = false, starts_group = false, ends_group = false;
  int count = 0;  // of parts; 0: nothing is left to do
  int part = 0;   // where scaling goes on
  int64_t row = 0;
};

/// Elements between the tiles of two segments.
constexpr int64_t kSegmentElements = 4 * kTileElements;

/// Every segment is a group.
template <int kSegments, bool kFirst>
void scale_groups(const Unit&, const Part& p, int64_t begin, int64_t end) {
  __m512 a[kSegments], b[kSegments];
#pragma GCC unroll 2
  for (int s = 0; s < kSegments; ++s) {
    a[s] = _mm512_load_ps(p.a + 16 * s);
    b[s] = _mm512_load_ps(p.b + 16 * s);
  }
  const int32_t* integers = p.integers;
  const float* scales = p.scales;
  const float* group_sums = p.group_sums;
  float* running = p.y;
  for (int64_t i = begin; i < end; ++i) {
    __m512 y = kFirst ? _mm512_setzero_ps() : _mm512_load_ps(running + 16 * i);
#pragma GCC unroll 2
    for (int s = 0; s < kSegments; ++s) {
      const __m512 integer =
          _mm512_cvtepi32_ps(_mm512_load_si512(integers + s * kSegmentElements + 16 * i));
      const __m512 sum = _mm512_mul_ps(_mm512_set1_ps(scales[kChunkSegments * i + s]), integer);
      y = _mm512_fmadd_ps(a[s], sum, y);
      y = _mm512_fmadd_ps(b[s], _mm512_set1_ps(group_sums[kChunkSegments * i + s]), y);
    }
    _mm512_store_ps(running + 16 * i, y);
  }
}

/// The segments belong to one group.
template <int kSegments, bool kFirst>
void scale_segments(const Unit& u, const Part& p, int64_t begin, int64_t end) {
  const int32_t* integers = p.integers;
  const float* scales = p.scales;
  float* running = p.running;
  const bool ends_group = u.ends_group;
  for (int64_t i = begin; i < end; ++i) {
    __m512 sum = kFirst ? _mm512_setzero_ps() : _mm512_load_ps(running + 16 * i);
#pragma GCC unroll 2
    for (int s = 0; s < kSegments; ++s) {
      const __m512 integer =
          _mm512_cvtepi32_ps(_mm512_load_si512(integers + s * kSegmentElements + 16 * i));
      sum = _mm512_fmadd_ps(_mm512_set1_ps(scales[kChunkSegments * i + s]), integer, sum);
    }
    if (!ends_group) {
      _mm512_store_ps(running + 16 * i, sum);
      continue;
    }
    __m512 y = u.first_group ? _mm512_setzero_ps() : _mm512_load_ps(p.y + 16 * i);
    y = _mm512_fmadd_ps(_mm512_load_ps(p.a), sum, y);
    y = _mm512_fmadd_ps(_mm512_load_ps(p.b), _mm512_set1_ps(p.group_sums[kChunkSegments * i]), y);
    _mm512_store_ps(p.y + 16 * i, y);
  }
}

using ScaleFn = void (*)(const Unit& u, const Part& p, int64_t begin, int64_t end);

template <int kSegments>
ScaleFn scale_of(bool group_per_segment, bool first) {
  if (group_per_segment)
    return first ? scale_groups<kSegments, true> : scale_groups<kSegments, false>;
  return first ? scale_segments<kSegments, true> : scale_segments<kSegments, false>;
}

/// Scales the next `rows` rows of the unit, fewer if fewer are left.
TWOFOLD_INLINE void scale_some(Unit& u, int64_t rows) {
  while (rows > 0 && u.part < u.count) {
    const int64_t end = u.row + rows < u.rows ? u.row + rows : u.rows;
    u.scale(u, u.parts[u.part], u.row, end);
    rows -= end - u.row;
    u.row = end;
    if (u.row == u.rows) {
      u.row = 0;
      ++u.part;
    }
  }
}

}  // namespace

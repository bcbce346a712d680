// Internal to kernels/amx: from int32 tiles to float32 results.
#pragma once

#include "kernels/avx512vnni/weights.h"

namespace {

/// Elements of an int32 tile, [16 rows of activations][16 rows of weights].
constexpr int64_t kTileElements = 256;
/// Of the tiles of a unit, [2 tiles of activations][2 blocks of weights], or the low and the high
/// bytes of one block of wide values.
constexpr int64_t kUnitElements = 4 * kTileElements;

enum class Scaling : uint8_t {
  kNothing,
  kRunning,   // the group goes on
  kGroup,     // the segment is a group
  kEndsGroup  // other segments of the group came before
};
constexpr int kScalings = 4;

/// What makes float32 of the sums of a segment for all rows of activations and two blocks.
struct SegmentScaling {
  Scaling scaling = Scaling::kNothing;
  __mmask16 keep_running = 0, keep_y = 0;  // 0 where a group or a row starts
  const float* scales = nullptr;           // [rows] of the activations
  const float* group_sums = nullptr;       // [rows]
  const float *a = nullptr, *b = nullptr;  // [2 blocks][16]
};

/// Sums of a segment for up to 32 rows of activations from `row` on. Tiles lie as in kUnitElements.
/// Written and read by single members: a copy of the whole would have to wait for them to leave
/// the store buffer.
struct Sums {
  const SegmentScaling* segment;
  const int32_t* integers;
  int64_t row;
  float *running, *y;  // S and y
};

/// Scales rows of a unit a few at a time, between products. A copy of what `Sums` points to, in
/// registers.
template <Scaling kScaling, bool kWide>
class Scaler {
 public:
  TWOFOLD_INLINE Scaler of(const Sums& sums) {
    const SegmentScaling& segment = *sums.segment;
    Scaler out;
    out.integers_ = sums.integers;
    out.scales_ = segment.scales + sums.row;
    out.running_ = sums.running;
    out.keep_running_ = segment.keep_running;
    if constexpr (kEnds) {
      out.group_sums_ = segment.group_sums + sums.row;
      out.y_ = sums.y;
      out.keep_y_ = segment.keep_y;
      out.a0_ = _mm512_load_ps(segment.a);
      out.b0_ = _mm512_load_ps(segment.b);
      if constexpr (!kWide) {
        out.a1_ = _mm512_load_ps(segment.a + 16);
        out.b1_ = _mm512_load_ps(segment.b + 16);
      }
    }
    return out;
  }

  /// Rows [kBegin, kEnd) of the unit.
  template <int kBegin, int kEnd>
  [[gnu::always_inline]] inline void rows() const {
    if constexpr (kScaling != Scaling::kNothing && kBegin < kEnd) {
      constexpr int64_t kAt = kBegin / 16 * 2 * kTileElements + kBegin % 16 * 16;
      const __m512 scale = _mm512_set1_ps(scales_[kBegin]);
      const __m512 group_sum = kEnds ? _mm512_set1_ps(group_sums_[kBegin]) : scale;
      scale_at<kAt>(scale, group_sum, a0_, b0_);
      if constexpr (!kWide) scale_at<kAt + kTileElements>(scale, group_sum, a1_, b1_);
      rows<kBegin + 1, kEnd>();
    }
  }

 private:
  static constexpr bool kEnds = kScaling == Scaling::kGroup || kScaling == Scaling::kEndsGroup;

  template <int64_t kAt>
  [[gnu::always_inline]] inline void scale_at(__m512 scale, __m512 group_sum, __m512 a,
                                              __m512 b) const {
    __m512i integers = _mm512_load_si512(integers_ + kAt);
    if constexpr (kWide) {
      const __m512i high = _mm512_load_si512(integers_ + kAt + kTileElements);
      integers = _mm512_add_epi32(integers, _mm512_slli_epi32(high, 8));
    }
    const __m512 integer = _mm512_cvtepi32_ps(integers);
    __m512 sum;
    if constexpr (kScaling == Scaling::kGroup) {
      sum = _mm512_mul_ps(scale, integer);
    } else {
      sum = _mm512_fmadd_ps(scale, integer, _mm512_maskz_load_ps(keep_running_, running_ + kAt));
    }
    if constexpr (!kEnds) {
      _mm512_store_ps(running_ + kAt, sum);
    } else {
      const __m512 y = _mm512_fmadd_ps(a, sum, _mm512_maskz_load_ps(keep_y_, y_ + kAt));
      _mm512_store_ps(y_ + kAt, _mm512_fmadd_ps(b, group_sum, y));
    }
  }

  const int32_t* integers_;
  const float *scales_, *group_sums_;
  float *running_, *y_;
  __mmask16 keep_running_, keep_y_;
  __m512 a0_, a1_, b0_, b1_;
};

}  // namespace

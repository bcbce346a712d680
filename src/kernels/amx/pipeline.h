// Internal to kernels/amx: products of one segment of columns after another in the tiles, while
// AVX-512 scales the sums of the segments before.
//
// Budget of 32 rows of activations x 32 rows of weights x 128 columns, a group of its own, in
// cycles of a Sapphire Rapids core (TDPBSSD 16, a line of a tile as a load or a store each):
//   tile products    8 TDPBSSD                                                      128
//   load ports (2)   8 tiles of 16 lines; 64 rows of sums and of y; 2 x 32 scalars  160
//   store port       4 tiles of 16 lines; 64 rows of y                              128
//   floating point   64 rows x (convert, multiply, 2 FMA)                           256
// Beside tile products, convert and FMA were measured to issue once per cycle, not twice: the
// products keep the unit of the other port. Apart from each other both would take as long. So a
// group of 128 can reach half of the tile peak, and 0.4 of what it is at the clock without AVX-512;
// measured alone, this loop gets 0.36 and with unpacking and the way of the results through the
// caches 0.25. A segment that goes on with its group (convert, FMA) is bound by loads; groups of 32
// have four times the floating point.
#pragma once

#include "base/amx_tiles.h"
#include "kernels/amx/scaling.h"

namespace {

/// Bytes of a tile of activations or weights of 64 columns.
constexpr int64_t kTileBytes = 1024;

/// Operands of one segment.
struct Operands {
  const uint8_t* weights;     // tiles of the first block, or of low bytes
  int64_t weight_stride;      // bytes to those of the second block, or of high bytes
  const int8_t* activations;  // tiles of the first 16 rows
  int64_t activation_stride;  // bytes to those of the second 16 rows
};

/// Tiles 0 to 3: sums; 4 and 5: activations of `step` columns; 6 and 7: weights.
void configure_tiles(int64_t step) {
  twofold::AmxTileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.row_bytes[i] = static_cast<uint16_t>(i == 4 || i == 5 ? step : 64);
    config.rows[i] = static_cast<uint8_t>(i < 6 ? 16 : step / 4);
  }
  // GCC does not know that the instruction reads the whole structure.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

/// The product of one step of columns. Where a segment starts, each sum of the segment before is
/// stored to `pending` just before its tile is used again. After each product kRows rows from
/// kFirst on are scaled. The first of wide weights are low bytes, without a sign.
template <int kTiles, bool kWide, bool kStart, int kFirst, int kRows, class AnyScaler>
TWOFOLD_INLINE void multiply_step(const Operands& from, int64_t at, int32_t* pending,
                                  const AnyScaler& scaler) {
  _tile_loadd(6, from.weights + at, 64);
  _tile_loadd(4, from.activations + at, 64);
  if constexpr (kStart) {
    _tile_stored(0, pending, 64);
    _tile_zero(0);
  }
  if constexpr (kWide) {
    _tile_dpbsud(0, 4, 6);
  } else {
    _tile_dpbssd(0, 4, 6);
  }
  scaler.template rows<kFirst, kFirst + kRows>();
  _tile_loadd(7, from.weights + from.weight_stride + at, 64);
  if constexpr (kStart) {
    _tile_stored(1, pending + kTileElements, 64);
    _tile_zero(1);
  }
  _tile_dpbssd(1, 4, 7);
  scaler.template rows<kFirst + kRows, kFirst + 2 * kRows>();
  if constexpr (kTiles == 2) {
    _tile_loadd(5, from.activations + from.activation_stride + at, 64);
    if constexpr (kStart) {
      _tile_stored(2, pending + 2 * kTileElements, 64);
      _tile_zero(2);
    }
    if constexpr (kWide) {
      _tile_dpbsud(2, 5, 6);
    } else {
      _tile_dpbssd(2, 5, 6);
    }
    scaler.template rows<kFirst + 2 * kRows, kFirst + 3 * kRows>();
    if constexpr (kStart) {
      _tile_stored(3, pending + 3 * kTileElements, 64);
      _tile_zero(3);
    }
    _tile_dpbssd(3, 5, 7);
    scaler.template rows<kFirst + 3 * kRows, kFirst + 4 * kRows>();
  }
}

/// Multiplies a segment of kSteps steps, whose sums stay in the tiles; stores the sums that were
/// there to `pending` and scales `sums`.
template <int kTiles, bool kWide, int kSteps, Scaling kScaling>
void multiply_segment(const Operands& operands, int32_t* pending, const Sums& sums) {
  const auto scaler = Scaler<kScaling, kWide>::of(sums);
  const Operands from = operands;
  constexpr int kRows = 8 / kSteps;
  multiply_step<kTiles, kWide, true, 0, kRows>(from, 0, pending, scaler);
  if constexpr (kSteps == 2) {
    multiply_step<kTiles, kWide, false, kRows * kTiles * 2, kRows>(from, kTileBytes, pending,
                                                                   scaler);
  }
}

template <int kTiles, bool kWide, Scaling kScaling>
void scale_unit(const Sums& sums) {
  Scaler<kScaling, kWide>::of(sums).template rows<0, 16 * kTiles>();
}

/// What a pipeline calls for units of some number of tiles of activations.
struct Stages {
  void (*multiply[2][kScalings])(const Operands& from, int32_t* pending, const Sums& sums);
  void (*scale[kScalings])(const Sums& sums);
};
template <int kTiles, bool kWide, Scaling... kAll>
constexpr Stages kStagesOf = {
    {{multiply_segment<kTiles, kWide, 1, kAll>...}, {multiply_segment<kTiles, kWide, 2, kAll>...}},
    {scale_unit<kTiles, kWide, kAll>...}};
template <int kTiles, bool kWide>
constexpr const Stages& kStages = kStagesOf<kTiles, kWide, Scaling::kNothing, Scaling::kRunning,
                                            Scaling::kGroup, Scaling::kEndsGroup>;
const Stages& stages_of(int tiles, bool wide) {
  if (wide) return tiles == 1 ? kStages<1, true> : kStages<2, true>;
  return tiles == 1 ? kStages<1, false> : kStages<2, false>;
}

/// Segments on their way: the sums of the last one are in the tiles, those of the one before are
/// stored. What the `Sums` of kPending segments point to must stay as it is.
constexpr int kPending = 2;
class Pipeline {
 public:
  /// @param integers [kPending][kUnitElements]
  /// @param tiles    of activations in a unit, 1 or 2
  Pipeline(int32_t* integers, int tiles, bool wide)
      : integers_(integers), stages_(stages_of(tiles, wide)) {
    for (int i = 0; i < kPending; ++i) {
      sums_[i] = {&kNothing, integers_ + i * kUnitElements, 0, nullptr, nullptr};
    }
  }

  /// Multiplies a segment of `steps` steps.
  /// @param segment, row, running, y as in Sums: what becomes of the sums
  void multiply(const Operands& from, int64_t steps, const SegmentScaling& segment, int64_t row,
                float* running, float* y) {
    Sums& sums = sums_[now_];
    int32_t* const pending = integers_ + (now_ ^ 1) * kUnitElements;
    stages_.multiply[steps - 1][static_cast<int>(sums.segment->scaling)](from, pending, sums);
    sums.segment = &segment;
    sums.row = row;
    sums.running = running;
    sums.y = y;
    now_ ^= 1;
  }
  /// Scales all that is on its way; nothing may come after it.
  void finish() {
    int32_t* const pending = integers_ + (now_ ^ 1) * kUnitElements;
    _tile_stored(0, pending, 64);
    _tile_stored(1, pending + kTileElements, 64);
    _tile_stored(2, pending + 2 * kTileElements, 64);
    _tile_stored(3, pending + 3 * kTileElements, 64);
    for (int i = 0; i < kPending; ++i) {
      const Sums& sums = sums_[now_ ^ i];
      stages_.scale[static_cast<int>(sums.segment->scaling)](sums);
    }
  }

 private:
  static constexpr SegmentScaling kNothing = {};
  int32_t* integers_;
  const Stages& stages_;
  Sums sums_[kPending];
  int now_ = 0;  // the stored sums; those in the tiles belong to the other
};

}  // namespace

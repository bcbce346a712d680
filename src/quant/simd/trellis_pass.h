// The Viterbi passes that the files under quant/simd/ export, one table per instruction set; all
// decide alike. Plain data only: this header is included by files compiled for wider vectors than
// the baseline.
//
// Before step t the `overlap` p holds the newest window - bits bits that the stream has so far, the
// low ones the oldest; a symbol n on top makes the window p | n << (window - bits) of the step,
// whose low `bits` bits, the symbol of the step, then leave. Costs are uint16: that of a branch is
//   ((d d) >> 16),  d = target - level, saturated to int16,
// sums saturate, and after each step the least is subtracted from all. Of equal ones the lowest
// symbol, then the lowest overlap wins.
//
// With feedback every overlap also carries a sum s of the errors of its way in the row so far, 0
// before column 0. At column c, with products of 16 bits rounded by 2^-15 and all sums saturated,
//   d = 2^weight_doublings weight[c] (target + 2^doublings (to[c] s) - level),
//   s += from[c] (target - level).
#pragma once

#include <cstdint>

namespace twofold {

/// Units of targets and levels in a pass, per level of 1: fine enough for the errors of a rate, and
/// such that only errors beyond 160 to 250 levels saturate.
constexpr int trellis_units(int bits) { return bits <= 2 ? 128 : bits == 3 ? 160 : 200; }

constexpr int kTrellisFeedbackColumns = 16;  // of a row

constexpr int kMostWeightDoublings = 2;

struct TrellisFeedback {
  // In units of 2^-15.
  int16_t from[kTrellisFeedbackColumns], to[kTrellisFeedbackColumns],
      weight[kTrellisFeedbackColumns];
  int doublings, weight_doublings;
};

struct TrellisPass {
  int bits, window;
  const uint8_t* index;     // [2^window] of each window
  const int16_t* levels;    // [64] in units
  const int16_t* lanes;     // [64, lanes] levels by offset and lane (trellis_body.h), or null
  const uint16_t* offsets;  // [2^window / lanes] first number in `lanes` of each vector of branches
  const int16_t* target;    // [steps] in units
  const uint8_t* padding;   // [steps] 1: the symbol is 0 and costs nothing
  const TrellisFeedback* feedback;  // null: none; else the first step is in column 0
  int steps;
  int start;           // overlap before the first step; -1: any
  uint8_t* survivors;  // [steps, survivor_bytes] out, on a 64-byte boundary
  uint16_t* metric;    // [2^(window - bits)] out: costs after the last step, the least is 0
};

struct TrellisPasses {
  int lanes;               // of a vector; 1: neither `lanes` nor `offsets` is read
  int64_t survivor_bytes;  // of a step
  void (*run)(const TrellisPass& pass);
  /// The symbols of the best way that ends with the overlap `end`.  @param symbols [steps] out.
  void (*trace)(const TrellisPass& pass, int end, uint8_t* symbols);
};

extern const TrellisPasses kTrellisPassesScalar;
extern const TrellisPasses kTrellisPassesAvx2;
extern const TrellisPasses kTrellisPassesAvx512;

}  // namespace twofold

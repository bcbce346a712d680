// TrellisEncoder: the stream of least squared error for the 256 numbers of a tile, by Viterbi's
// algorithm over the states of the code (trellis_code.h), with costs in 16 bits: all instruction
// sets choose the same stream. Immutable, thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu.h"
#include "quant/simd/trellis_pass.h"
#include "quant/trellis_code.h"

namespace twofold {

/// How the two ends of a stream are made to meet.
enum class TrellisEnds {
  kOnePass,   // the end takes over the bits that suit the start best, if all ways to it begin so
  kTwoPasses  // a first pass over the steps around them finds the bits that suit both
};

/// What a tile is wanted to be.
struct TrellisTarget {
  std::array<float, kTrellisSteps>
      value;  // in levels; cut off beyond 160 to 250, see trellis_units
  std::array<uint8_t, kTrellisSteps> padding;  // 1: outside of the matrix
  /// Null: errors cost their squares; else how those of a row act on the columns after them.
  const TrellisFeedback* feedback = nullptr;
};

/// What `encode` writes to on its way; one for each thread.
struct TrellisWorkspace {
  AlignedBuffer<uint8_t> survivors;
};

class TrellisEncoder {
 public:
  /// @param levels [64] not sorted necessarily.
  TrellisEncoder(const TrellisCode& code, Isa isa);

  /// The windows of each step.
  TrellisTile encode(const TrellisTarget& target, TrellisEnds ends,
                     TrellisWorkspace& workspace) const;
  const TrellisCode& code() const { return code_; }
  /// The level of each window, [2^window].
  const std::vector<int8_t>& window_levels() const { return window_levels_; }

 private:
  TrellisPass pass_template() const;

  TrellisCode code_;
  const TrellisPasses* passes_;
  std::vector<uint8_t> index_;         // [2^window]
  std::vector<int8_t> window_levels_;  // [2^window]
  std::array<int16_t, kTrellisLevels> levels_;
  AlignedBuffer<int16_t> lanes_;
  std::vector<uint16_t> offsets_;
};

}  // namespace twofold

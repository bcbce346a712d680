// CalibrationRun: the samples on their way through the model, block by block. It holds the hidden
// states that enter the next block, collects second moments of layer inputs and moves the states
// through blocks. One sequence at a time, so that memory grows with one sample's activations and
// results do not depend on memory options.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "calib/samples.h"
#include "engine/block_runner.h"
#include "pipeline/hidden_states.h"
#include "pipeline/progress.h"
#include "quant/second_moment.h"

namespace twofold {

/// What calibration found at one layer input.
struct CollectedMoment {
  SecondMoment moment;
  int64_t dropped = 0;        // tokens with a number that is not finite
  std::vector<float> sample;  // [sampled rows, cols] of the inputs, finite, evenly spaced
  std::string note = {};      // what was done to the moment; for the report
};

/// Largest share of an input's tokens that may be dropped.
inline constexpr double kMaxDroppedShare = 0.01;

/// Rows of a calibration input that are kept, about: as many from each sequence.
inline constexpr int64_t kSampledRows = 64;

class CalibrationRun {
 public:
  /// @param folder where hidden states go that do not fit into memory, and those that are saved.
  CalibrationRun(const ModelFiles& source, CalibrationSamples samples,
                 const std::filesystem::path& folder, bool in_memory);

  const CalibrationSamples& samples() const { return samples_; }
  HiddenStates& states() { return states_; }
  const HiddenStates& states() const { return states_; }

  /// Makes the states that enter block 0, by the float model's tables.
  void embed(Progress& progress, const Context& ctx);
  /// Collects the moments of `inputs` (Slot::input) of the block that the states enter.
  /// @param inputs names and numbers of columns, in the order in which the block makes them.
  /// @throws Error(kUnsupported) if more than kMaxDroppedShare of an input's tokens are not finite,
  /// naming a weight of this or an earlier block that is not, or else the input.
  std::map<std::string, CollectedMoment> observe(
      const BlockRunner& block, const std::vector<std::pair<std::string, int64_t>>& inputs,
      Progress& progress, const Context& ctx);
  /// Moves the states through their block.
  void advance(const BlockRunner& block, Progress& progress, const Context& ctx);

 private:
  const ModelFiles& source_;
  CalibrationSamples samples_;
  HiddenStates states_;
};

}  // namespace twofold

// WorkPlan: the order of a quantization and what each part of it needs, decided before anything
// starts: which layer inputs are calibrated, how far the samples travel, how many steps it takes.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/output_plan.h"
#include "pipeline/quantize_model.h"

namespace twofold {

struct WorkPlan {
  OutputPlan output;
  bool all_moments = false;  // collected for every input, not only where they are needed
  int last_calibrated = -1;  // the last block with a calibrated input; -1: no calibration
  /// Numbers in the matrices of each block of the model that a token meets: of experts, their
  /// share.
  std::vector<int64_t> block_weights;

  bool is_calibrated() const { return last_calibrated >= 0; }
  /// Whether the moment of this input is collected.
  bool is_calibrated(const PlannedInput& input) const;
  bool is_calibrated(const PlannedBlock& block) const;
  /// Names and columns of the calibrated ones of `inputs`, and of those that stand in for them
  /// (PlannedInput::wider), in the order in which the block makes them.
  std::vector<std::pair<std::string, int64_t>> calibrated(
      std::span<const PlannedInput> inputs) const;
};

/// @throws Error(kInvalidArgument) as plan_output, and naming a matrix outside of blocks whose
/// method needs second moments, or a setting (or true_sequential) that has no effect where none are
/// collected.
WorkPlan plan_work(const ModelFiles& source, const Recipe& recipe, const QuantizeOptions& options);

/// How a block's inputs are divided into passes.
struct StageSize {
  bool input_by_input = false;  // else all of them at once
  /// Inputs of experts that no other expert's quantization changes are one stage, of at most so
  /// many.
  int64_t experts = INT64_MAX;
};

/// Parts of a block's inputs whose moments are collected in one pass.
std::vector<std::span<const PlannedInput>> stages_of(const PlannedBlock& block, StageSize size);

}  // namespace twofold

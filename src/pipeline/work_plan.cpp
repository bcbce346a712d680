#include "pipeline/work_plan.h"

#include <algorithm>

#include "base/error.h"
#include "quant/method.h"

namespace twofold {

bool WorkPlan::is_calibrated(const PlannedInput& input) const {
  return std::ranges::any_of(input.linears, [&](const PlannedTensor& linear) {
    return linear.slot.layer >= 0 && (all_moments || needs_moment(*linear.choice));
  });
}

bool WorkPlan::is_calibrated(const PlannedBlock& block) const {
  return std::ranges::any_of(block.inputs,
                             [&](const PlannedInput& input) { return is_calibrated(input); });
}

std::vector<std::pair<std::string, int64_t>> WorkPlan::calibrated(
    std::span<const PlannedInput> inputs) const {
  std::vector<std::pair<std::string, int64_t>> names;
  for (const PlannedInput& input : inputs) {
    if (is_calibrated(input)) names.emplace_back(input.name, input.linears.front().slot.shape[1]);
  }
  return names;
}

WorkPlan plan_work(const ModelFiles& source, const Recipe& recipe, const QuantizeOptions& options) {
  WorkPlan work{.output = plan_output(source, recipe),
                .all_moments = options.calibration.has_value(),
                .block_weights = std::vector<int64_t>(static_cast<size_t>(source.config.layers))};
  for (const PlannedBlock& block : work.output.blocks) {
    if (block.layer >= 0) {
      if (work.is_calibrated(block)) work.last_calibrated = block.layer;
      continue;
    }
    for (const PlannedInput& input : block.inputs) {
      for (const PlannedTensor& tensor : input.linears) {
        if (!needs_moment(*tensor.choice)) continue;
        fail(ErrorCode::kInvalidArgument, tensor.slot.name,
             "method {} needs second moments, which are collected inside blocks only; expected "
             "keep or a method that needs none, such as rtn:8",
             tensor.choice->method);
      }
    }
  }
  for (const Slot& slot : source.slots) {
    if (slot.layer < 0 || slot.shape.size() != 2) continue;
    work.block_weights[static_cast<size_t>(slot.layer)] += slot.shape[0] * slot.shape[1];
  }
  return work;
}

std::vector<std::span<const PlannedInput>> stages_of(const PlannedBlock& block,
                                                     bool input_by_input) {
  const std::span<const PlannedInput> inputs(block.inputs);
  if (!input_by_input) return {inputs};
  std::vector<std::span<const PlannedInput>> stages;
  for (size_t i = 0; i < inputs.size(); ++i) stages.push_back(inputs.subspan(i, 1));
  return stages;
}

}  // namespace twofold

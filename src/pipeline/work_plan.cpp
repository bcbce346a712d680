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
  const auto add = [&](const std::string& name, int64_t cols) {
    const bool known = std::ranges::any_of(names, [&](const auto& n) { return n.first == name; });
    if (!known) names.emplace_back(name, cols);
  };
  std::vector<const PlannedInput*> known;
  for (const PlannedInput& input : inputs) {
    if (is_calibrated(input)) known.push_back(&input);
  }
  for (const PlannedInput* input : known) {
    const int64_t cols = input->linears.front().slot.shape[1];
    if (!input->wider.empty()) add(input->wider, cols);
    add(input->name, cols);
  }
  return names;
}

namespace {

/// Settings that only a moment gives an effect, of a matrix whose input has none.
void check_uncalibrated(const PlannedTensor& tensor, const Recipe& recipe) {
  const std::optional<size_t> rule = deciding_rule(recipe, tensor.slot);
  TWOFOLD_ASSERT(rule.has_value());
  check_without_moment(recipe.rules[*rule].request,
                       tensor.slot.layer < 0 ? "they are collected inside blocks only"
                                             : "without --calibration none are collected");
}

}  // namespace

WorkPlan plan_work(const ModelFiles& source, const Recipe& recipe, const QuantizeOptions& options) {
  WorkPlan work{.output = plan_output(source, recipe),
                .all_moments = options.calibration.has_value(),
                .block_weights = std::vector<int64_t>(static_cast<size_t>(source.config.layers))};
  for (const PlannedBlock& block : work.output.blocks) {
    if (block.layer >= 0) {
      if (work.is_calibrated(block)) work.last_calibrated = block.layer;
    }
    for (const PlannedInput& input : block.inputs) {
      for (const PlannedTensor& tensor : input.linears) {
        if (!work.is_calibrated(input)) check_uncalibrated(tensor, recipe);
        if (block.layer >= 0 || !needs_moment(*tensor.choice)) continue;
        fail(ErrorCode::kInvalidArgument, tensor.slot.name,
             "method {} needs second moments, which are collected inside blocks only; expected "
             "keep or a method that needs none, such as rtn:8",
             tensor.choice->method);
      }
    }
  }
  if (options.true_sequential && !work.is_calibrated()) {
    fail(ErrorCode::kInvalidArgument, "--true-sequential",
         "has no effect: no method of the recipe needs second moments, and without --calibration "
         "none are collected");
  }
  std::vector<int64_t> experts(work.block_weights.size());
  for (const Slot& slot : source.slots) {
    if (slot.layer < 0 || slot.shape.size() != 2) continue;
    const auto layer = static_cast<size_t>(slot.layer);
    (slot.expert < 0 ? work.block_weights : experts)[layer] += slot.shape[0] * slot.shape[1];
  }
  for (size_t i = 0; i < experts.size(); ++i) {
    if (experts[i] == 0) continue;
    work.block_weights[i] += experts[i] * source.config.experts_per_token / source.config.experts;
  }
  return work;
}

std::vector<std::span<const PlannedInput>> stages_of(const PlannedBlock& block, StageSize size) {
  const std::span<const PlannedInput> inputs(block.inputs);
  if (!size.input_by_input) return {inputs};
  std::vector<std::span<const PlannedInput>> stages;
  for (size_t i = 0; i < inputs.size(); i += stages.back().size()) {
    const auto alike = [&](const PlannedInput& other) {
      return other.expert >= 0 && inputs[i].expert >= 0 &&
             other.linears.front().slot.role == inputs[i].linears.front().slot.role;
    };
    size_t count = 1;
    while (i + count < inputs.size() && static_cast<int64_t>(count) < size.experts &&
           alike(inputs[i + count])) {
      ++count;
    }
    stages.push_back(inputs.subspan(i, count));
  }
  return stages;
}

}  // namespace twofold

#include "pipeline/expert_counts.h"

#include <map>
#include <set>

namespace twofold {
namespace {

int64_t columns_of(const PlannedInput& input) { return input.linears.front().slot.shape[1]; }

/// "block 0: 3, 5; block 2: 1"
std::string list_of(const std::map<int, std::vector<int64_t>>& experts) {
  std::string text;
  for (const auto& [layer, numbers] : experts) {
    text +=
        fmt::format("{}block {}: {}", text.empty() ? "" : "; ", layer, fmt::join(numbers, ", "));
  }
  return text;
}

}  // namespace

std::string few_tokens_note(const PlannedInput& input, int64_t tokens) {
  const std::string filled = input.wider.empty() ? "the identity" : "all tokens of " + input.wider;
  if (tokens == 0) {
    return fmt::format("no calibration token reached the expert: moment of {}", filled);
  }
  return fmt::format("{} calibration tokens for {} columns: moment filled up with {}", tokens,
                     columns_of(input), filled);
}

std::string few_tokens_warning(const OutputPlan& plan, const std::vector<InputReport>& inputs) {
  std::map<std::string_view, int64_t> tokens;
  for (const InputReport& input : inputs) tokens[input.name] = input.tokens;
  std::map<std::pair<int, int64_t>, bool> found;  // block and expert -> no token at all
  size_t all = 0;
  for (const PlannedBlock& block : plan.blocks) {
    std::set<int64_t> experts;
    for (const PlannedInput& input : block.inputs) {
      const auto count = tokens.find(input.name);
      if (input.expert < 0 || count == tokens.end()) continue;
      experts.insert(input.expert);
      if (count->second >= columns_of(input)) continue;
      found.emplace(std::pair(block.layer, input.expert), count->second == 0);
    }
    all += experts.size();
  }
  if (found.empty()) return {};
  std::map<int, std::vector<int64_t>> none, few;
  for (const auto& [expert, empty] : found) {
    (empty ? none : few)[expert.first].push_back(expert.second);
  }
  std::string text = fmt::format(
      "{} of {} experts got fewer calibration tokens than they have columns: more text would serve "
      "them better",
      found.size(), all);
  if (!none.empty()) text += "; none: " + list_of(none);
  if (!few.empty()) text += "; few: " + list_of(few);
  return text;
}

}  // namespace twofold

#include "pipeline/output_plan.h"

#include <algorithm>

#include "pipeline/dense_weights.h"
#include "quant/method.h"

namespace twofold {
namespace {

std::string dense_format_name(DType dtype) {
  std::string name(dtype_info(dtype).name);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return name;
}

PlannedTensor plan_kept(const Slot& slot) {
  const DType dtype = written_dtype(slot);
  return {.slot = slot,
          .choice = std::nullopt,
          .format = parse_format(dense_format_name(dtype)),
          .stored = dense_plan(slot, dtype)};
}

PlannedTensor plan_quantized(const Slot& slot, const MethodChoice& choice) {
  const int64_t rows = slot.shape[0], cols = slot.shape[1];
  const bool table = slot.role == Role::kEmbedding || slot.role == Role::kPosition;
  if (table && !find_transform(choice.transform).identity) {
    fail(ErrorCode::kInvalidArgument, slot.name,
         "is a table whose rows are looked up: expected no transform, found {}", choice.transform);
  }
  try {
    const Format format = format_for(scheme_for(choice, rows, cols));
    const int64_t bytes = packed_bytes(format, rows, cols);
    return {.slot = slot,
            .choice = choice,
            .format = format,
            .stored = {slot.name, DType::kU8, {bytes}}};
  } catch (const Error& error) {
    fail(error.code(), slot.name, std::string_view(error.what()));
  }
}

/// Names the scale vector of a transform after the first matrix that has it: matrices that read one
/// input by the same choice share it, unless each is fitted alone.
void plan_input_scale(OutputPlan& plan, const PlannedInput& input, PlannedTensor& tensor) {
  const Transform& transform = find_transform(tensor.choice->transform);
  if (!transform.has_input_scale(tensor.choice->params)) return;
  if (!transform.per_matrix(tensor.choice->params) && !input.name.empty()) {
    for (const PlannedTensor& other : input.linears) {
      if (other.choice == tensor.choice) {
        tensor.input_scale = other.input_scale;
        return;
      }
    }
  }
  tensor.input_scale = tensor.slot.name + ".input_scale";
  plan.input_scales.push_back({tensor.input_scale, DType::kF16, {tensor.slot.shape[1]}});
}

/// Adds to the block and input it belongs to. Slots come in the order of blocks.
void add_to_blocks(OutputPlan& plan, PlannedTensor tensor) {
  std::vector<PlannedBlock>& blocks = plan.blocks;
  if (blocks.empty() || blocks.back().layer != tensor.slot.layer) {
    blocks.push_back({tensor.slot.layer, {}});
  }
  std::vector<PlannedInput>& inputs = blocks.back().inputs;
  auto input = std::find_if(inputs.begin(), inputs.end(), [&](const PlannedInput& candidate) {
    return candidate.name == tensor.slot.input;
  });
  if (input == inputs.end()) {
    input = inputs.insert(inputs.end(), {.name = tensor.slot.input,
                                         .linears = {},
                                         .expert = tensor.slot.expert,
                                         .wider = tensor.slot.wider_input});
  }
  plan_input_scale(plan, *input, tensor);
  input->linears.push_back(std::move(tensor));
}

/// The head of a model whose head is its token table: bound to the table, under the head's name.
Slot tied_head(const ModelFiles& source, const Slot& table) {
  for (const TensorRule& rule : source.family->rules) {
    if (rule.role != Role::kHead) continue;
    Slot head = table;
    head.slot = rule.slot;
    head.name = rule.source;
    head.role = Role::kHead;
    head.input = rule.input;
    return head;
  }
  fail(ErrorCode::kInternal, source.family->name, "the family has no head");
}

}  // namespace

std::vector<TensorPlan> OutputPlan::stored() const {
  std::vector<TensorPlan> plans;
  for (const PlannedBlock& block : blocks) {
    for (const PlannedInput& input : block.inputs) {
      for (const PlannedTensor& tensor : input.linears) plans.push_back(tensor.stored);
    }
  }
  for (const PlannedTensor& tensor : kept) plans.push_back(tensor.stored);
  plans.insert(plans.end(), input_scales.begin(), input_scales.end());
  return plans;
}

int64_t OutputPlan::matrices() const {
  int64_t count = 0;
  for (const PlannedBlock& block : blocks) {
    for (const PlannedInput& input : block.inputs) {
      count += static_cast<int64_t>(input.linears.size());
    }
  }
  return count + std::count_if(kept.begin(), kept.end(), [](const PlannedTensor& tensor) {
           return tensor.slot.shape.size() == 2;
         });
}

std::map<std::string, std::string> weight_metadata() { return {{"format", "pt"}}; }

uint64_t weight_file_bytes(const OutputPlan& plan) {
  return safetensors_bytes(plan.stored(), weight_metadata());
}

OutputPlan plan_output(const ModelFiles& source, const Recipe& recipe) {
  OutputPlan plan;
  const auto add = [&](const Slot& slot, const std::optional<MethodChoice>& choice) {
    if (choice) {
      add_to_blocks(plan, plan_quantized(slot, *choice));
    } else {
      plan.kept.push_back(plan_kept(slot));
    }
  };
  std::vector<bool> used(recipe.rules.size(), false);
  const auto mark_rule_of = [&](const Slot& slot) {
    const std::optional<size_t> rule = deciding_rule(recipe, slot);
    if (rule && (slot.shape.size() == 2 || recipe.rules[*rule].keep)) used[*rule] = true;
  };
  std::optional<Slot> extra_head;
  for (const Slot& slot : source.slots) {
    const std::optional<MethodChoice> choice = choose(recipe, slot);
    add(slot, choice);
    mark_rule_of(slot);
    if (slot.role != Role::kEmbedding || !source.config.tied_head) continue;
    const Slot head = tied_head(source, slot);
    mark_rule_of(head);
    if (choose(recipe, head) != choice) extra_head = head;
  }
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) plan.idle_rules.push_back(i + 1);
  }
  if (plan.idle_rules.size() == recipe.rules.size()) {
    fail(ErrorCode::kInvalidArgument, "recipe",
         "expected a rule that matches a tensor of {}; none of {} does", source.path.string(),
         recipe.rules.size());
  }
  if (extra_head) {
    plan.untied_head = true;
    add(*extra_head, choose(recipe, *extra_head));
  }
  std::stable_sort(plan.kept.begin(), plan.kept.end(),
                   [](const PlannedTensor& a, const PlannedTensor& b) {
                     return a.slot.shape.size() > b.slot.shape.size();
                   });
  return plan;
}

}  // namespace twofold

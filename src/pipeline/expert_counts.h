// What the report says of experts that the calibration text hardly reached.
#pragma once

#include <string>
#include <vector>

#include "pipeline/output_plan.h"
#include "pipeline/quantize_model.h"

namespace twofold {

/// The note of a matrix whose moment was filled up (calib/filled_moment.h).
std::string few_tokens_note(const PlannedInput& input, int64_t tokens);

/// One line that lists the experts of `plan` with fewer tokens than columns, those without any
/// first; empty if there are none.
std::string few_tokens_warning(const OutputPlan& plan, const std::vector<InputReport>& inputs);

}  // namespace twofold

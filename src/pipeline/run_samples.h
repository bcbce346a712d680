// The calibration samples of a run: by the source's own tokenizer.
#pragma once

#include <optional>

#include "base/context.h"
#include "calib/samples.h"
#include "pipeline/work_plan.h"

namespace twofold {

/// Nothing if the work needs none.
/// @throws as load_samples; Error(kInvalidArgument) if the source has no tokenizer.
std::optional<CalibrationSamples> read_samples(const ModelFiles& source, const WorkPlan& work,
                                               const QuantizeOptions& options, const Context& ctx);

}  // namespace twofold

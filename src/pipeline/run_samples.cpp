#include "pipeline/run_samples.h"

#include "base/error.h"
#include "engine/load_tokenizer.h"

namespace twofold {

std::optional<CalibrationSamples> read_samples(const ModelFiles& source, const WorkPlan& work,
                                               const QuantizeOptions& options, const Context& ctx) {
  if (!work.is_calibrated()) return std::nullopt;
  const auto tokenizer = load_tokenizer(source);
  if (tokenizer == nullptr) {
    fail(ErrorCode::kInvalidArgument, source.path.string(),
         "expected a tokenizer beside the model for the calibration text, found none");
  }
  CalibrationOptions calibration = options.calibration.value_or(CalibrationOptions{});
  calibration.cancel = ctx.cancel;
  return load_samples(calibration, *tokenizer, source.config.context, options.seed);
}

}  // namespace twofold

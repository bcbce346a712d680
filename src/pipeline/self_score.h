// The loss of a finished quantization beside that of its source, on text that did not calibrate it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calib/samples.h"
#include "pipeline/quantize_model.h"

namespace twofold {

/// Tokens that go through a model together while it is scored: enough for full speed, with fewer
/// activations in memory than quantizing has.
inline constexpr int64_t kScoreBatchTokens = 512;

/// Scores the folder `result` and its source on the held-back tokens of `samples`, each sequence
/// from its start. A loss that is not finite is infinite.
/// @return nothing if no tokens were held back.
std::optional<SelfScore> score_result(const ModelFiles& source, const std::filesystem::path& result,
                                      const CalibrationSamples& samples, const Context& ctx);

/// Held-back tokens of the built-in texts, for a result that was not calibrated.
/// @return nothing if the source has no tokenizer.
std::optional<CalibrationSamples> builtin_held_back(const ModelFiles& source);

/// What to say of a result whose loss is more than kBrokenNats above the source's; empty if it is
/// not.
std::string broken_warning(const SelfScore& score);

}  // namespace twofold

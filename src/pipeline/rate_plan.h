// RatePlan: fractional bits. A rule that asks for 2.5 bits becomes two: for some of its matrices 3
// bits, for the others 2, so that the mean over its weights is at most what it asks for. A matrix
// gets the higher rate before another if it does more harm per byte at the lower one: the
// divergence of the float model's answers to kRateTokens calibration tokens when this matrix alone
// has the errors to expect (add_expected_error). A bit more takes the same part, three quarters, of
// each.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/quantize_model.h"

namespace twofold {

/// Of calibration text that the float model answers for each matrix.
inline constexpr int64_t kRateTokens = 256;

/// One matrix that a rule with fractional bits decides about.
struct RatedMatrix {
  std::string name;
  int64_t weights = 0;
  double divergence = 0;  // KL, nats per token, with errors of the lower rate
  int bits = 0;           // what it gets
};

struct RatePlan {
  Recipe recipe = {};  // without fractional bits
  std::vector<RatedMatrix> matrices = {};
  /// Of what was planned for: source, fractional recipe, calibration text, seed. Empty if nothing
  /// had to be planned.
  std::string fingerprint = {};
};

/// Gives `bits` = floor(mean) or ceil(mean) to each matrix, those with the largest
/// divergence / weights first, as long as the mean over all weights is at most `mean`.
/// Equal ones in their order.
void share_bits(double mean, std::vector<RatedMatrix>& matrices);

/// The lower of the two rates wherever a rule asks for fractional bits.
Recipe with_lower_bits(Recipe recipe);

/// Whether a rule asks for fractional bits.
bool has_mean_bits(const Recipe& recipe);

/// Calibrates the float model once and decides. Depends on source, recipe, calibration text and
/// seed only.  @param options without calibration: the built-in texts.
/// @throws Error as quantize_model; Error(kInvalidArgument) naming a matrix outside of blocks.
RatePlan plan_rates(const ModelFiles& source, const Recipe& recipe, const QuantizeOptions& options,
                    const Context& ctx);

/// The plan that an interrupted run of the same work left beside options.output, or else a new one;
/// the recipe as it is if it has no fractional bits.  @throws as plan_rates.
RatePlan find_rates(const ModelFiles& source, const Recipe& recipe, const QuantizeOptions& options,
                    const Context& ctx);

/// As for a recipe, and the plan is kept where an interrupted run goes on.
QuantizeReport quantize_model(const ModelFiles& source, const RatePlan& plan,
                              const QuantizeOptions& options, const Context& ctx);

nlohmann::ordered_json to_json(const RatePlan& plan);
/// @throws Error(kCorruptFile) naming `where` if it is not what `to_json` gave; nlohmann's
/// exceptions.
RatePlan rate_plan_from_json(const nlohmann::ordered_json& json, std::string_view where);

/// "rates: 2.498 bits in the mean, 3 bits for 12 matrices, 2 bits for 28 matrices"
std::string summary(const RatePlan& plan);

}  // namespace twofold

// RatePlan: fractional bits. A rule that asks for 2.5 bits becomes two: for some of its matrices 3
// bits, for the others 2, so that the mean over its weights is at most what it asks for. A matrix
// gets the higher rate before another if it does more harm per byte at the lower one: the
// divergence of the float model's answers to kRateTokens calibration tokens when this matrix alone
// has the errors to expect (add_expected_error). A bit more takes the same part, three quarters, of
// each.
#pragma once

#include <string>
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
  Recipe recipe;  // without fractional bits
  std::vector<RatedMatrix> matrices;
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

/// "rates: 2.498 bits in the mean, 3 bits for 12 matrices, 2 bits for 28 matrices"
std::string summary(const RatePlan& plan);

}  // namespace twofold

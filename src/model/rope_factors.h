// The frequencies of rotary position embeddings.
#pragma once

#include <vector>

#include "model/config.h"

namespace twofold {

/// Angle per position of each pair, [rope.dims / 2], scaling applied: theta^(-2i/dims), divided as
/// RopeScaling says. Llama 3: wavelengths longer than original_context / low_freq_factor are
/// divided by `factor`, those shorter than original_context / high_freq_factor are kept, between
/// them the divisor is interpolated.
std::vector<float> rope_frequencies(const RopeConfig& rope);

}  // namespace twofold

// The frequencies of rotary position embeddings.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace twofold {

/// Angle per position of each pair, [rope.dims / 2], scaling applied: theta^(-2i/dims), divided as
/// RopeScaling says. Llama 3: wavelengths longer than original_context / low_freq_factor are
/// divided by `factor`, those shorter than original_context / high_freq_factor are kept, between
/// them the divisor is interpolated. YaRN (arXiv:2309.00071, Sec. 3.2): likewise, by how often a
/// pair turns within the original context. LongRoPE: divided by factors of the configuration.
/// @param long_sequence more than original_context positions; only LongRoPE depends on it.
std::vector<float> rope_frequencies(const RopeConfig& rope, bool long_sequence = false);

/// Whether positions of sequences of `a` and of `b` positions turn by the same angles.
bool same_angles(const ModelConfig& config, int64_t a, int64_t b);

/// LongRoPE's factor of cosines and sines where a model does not have its own.
/// @param factor context of the model / original context.
double longrope_attention_factor(double factor, int64_t original_context);

}  // namespace twofold

// Moments of inputs that too few tokens reached: those of experts.
#pragma once

#include "quant/second_moment.h"

namespace twofold {

/// True if fewer tokens were summed than the input has columns: its moment has no full rank.
bool has_few_tokens(const SecondMoment& moment);

/// Fills the sum up to as many tokens as there are columns, with the mean of `wider`: n tokens of
/// moment H become (n H + (cols - n) W) / cols. Where there is no wider input, W is the identity
/// times the mean of H's diagonal, which pulls toward rounding each weight by itself; times 1
/// without tokens. Magnitudes likewise. Does nothing if there are enough tokens; the count of
/// tokens stays.
/// @param wider null, or of as many columns.
void fill_up(SecondMoment& moment, const SecondMoment* wider);

}  // namespace twofold

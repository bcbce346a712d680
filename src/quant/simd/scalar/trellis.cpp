// The passes by their definition: what the others must equal, and all of windows of 6 bits.
#include <algorithm>
#include <array>

#include "quant/simd/trellis_pass.h"

namespace twofold {
namespace {

constexpr int kMost = 0xffff;  // cost
constexpr int kMostOverlaps = 1 << 11;
constexpr int kIndices = 64;

using Sums = std::array<int16_t, kMostOverlaps>;  // of errors, by overlap

int saturated(int x) { return std::clamp(x, -0x8000, 0x7fff); }
int product(int x, int factor) { return (x * factor + 0x4000) >> 15; }

int branch_cost(int target, int level) {
  const int d = saturated(target - level);
  return (d * d) >> 16;
}

/// Costs of all indices at a target.
std::array<uint16_t, kIndices> branch_costs(int target, const int16_t* levels) {
  std::array<uint16_t, kIndices> costs;
  for (size_t i = 0; i < kIndices; ++i) {
    costs[i] = static_cast<uint16_t>(branch_cost(target, levels[i]));
  }
  return costs;
}

/// 2^doublings (x factor).
int product(int x, int factor, int doublings) {
  int out = product(x, factor);
  for (int i = 0; i < doublings; ++i) out = saturated(2 * out);
  return out;
}

/// One step with feedback.  @return the least of `next`.
int fed_step(const TrellisPass& pass, int at, const uint16_t* metric, uint16_t* next, Sums& sums) {
  const int overlaps = 1 << (pass.window - pass.bits);
  const int column = at % kTrellisFeedbackColumns, target = pass.target[at];
  const TrellisFeedback& feedback = *pass.feedback;
  Sums carried;
  uint8_t* survivors = pass.survivors + at * kMostOverlaps;
  int least = kMost;
  for (int p = 0; p < overlaps; ++p) {
    int best = kMost + 1, oldest = 0, sum_of_best = 0;
    for (int symbol = 0; symbol < 1 << pass.bits; ++symbol) {
      const int window = p << pass.bits | symbol;
      const auto from = static_cast<size_t>(window & (overlaps - 1));
      const int level = pass.levels[pass.index[window]];
      const int fed_back = product(sums[from], feedback.to[column], feedback.doublings);
      const int d = product(saturated(saturated(target + fed_back) - level),
                            feedback.weight[column], feedback.weight_doublings);
      const int total = std::min(metric[from] + ((d * d) >> 16), kMost);
      if (total >= best) continue;
      best = total;
      oldest = symbol;
      sum_of_best = sums[from] + product(saturated(target - level), feedback.from[column]);
    }
    next[p] = static_cast<uint16_t>(best);
    survivors[p] = static_cast<uint8_t>(oldest);
    carried[static_cast<size_t>(p)] = static_cast<int16_t>(saturated(sum_of_best));
    least = std::min(least, best);
  }
  std::copy_n(carried.begin(), overlaps, sums.begin());
  return least;
}

/// One step.  @return the least of `next`.
template <int kBits>
int step(const TrellisPass& pass, int at, const uint16_t* metric, uint16_t* next) {
  const int overlaps = 1 << (pass.window - kBits);
  const auto costs = branch_costs(pass.target[at], pass.levels);
  uint8_t* survivors = pass.survivors + at * kMostOverlaps;
  int least = kMost;
  for (int p = 0; p < overlaps; ++p) {
    int best = kMost + 1, oldest = 0;
    for (int symbol = 0; symbol < 1 << kBits; ++symbol) {
      const int window = p << kBits | symbol;
      const int cost = costs[pass.index[window]];
      const int sum = std::min(metric[window & (overlaps - 1)] + cost, kMost);
      oldest = sum < best ? symbol : oldest;
      best = std::min(best, sum);
    }
    next[p] = static_cast<uint16_t>(best);
    survivors[p] = static_cast<uint8_t>(oldest);
    least = std::min(least, best);
  }
  return least;
}

/// One step whose symbol is 0 and costs nothing.
int padded_step(const TrellisPass& pass, int at, const uint16_t* metric, uint16_t* next,
                Sums& sums) {
  const int overlaps = 1 << (pass.window - pass.bits);
  Sums carried;
  int least = kMost;
  for (int p = 0; p < overlaps; ++p) {
    const auto from = static_cast<size_t>(p << pass.bits & (overlaps - 1));
    next[p] = metric[from];
    carried[static_cast<size_t>(p)] = sums[from];
    least = std::min<int>(least, next[p]);
  }
  std::copy_n(carried.begin(), overlaps, sums.begin());
  std::fill_n(pass.survivors + at * kMostOverlaps, overlaps, uint8_t{0});
  return least;
}

void run(const TrellisPass& pass) {
  constexpr std::array kStep = {step<1>, step<2>, step<3>, step<4>};
  const auto encoded_step = kStep[static_cast<size_t>(pass.bits - 1)];
  const int overlaps = 1 << (pass.window - pass.bits);
  uint16_t* metric = pass.metric;
  for (int p = 0; p < overlaps; ++p) {
    metric[p] = static_cast<uint16_t>(pass.start < 0 || p == pass.start ? 0 : kMost);
  }
  std::array<uint16_t, kMostOverlaps> next;
  Sums sums;
  for (int at = 0; at < pass.steps; ++at) {
    if (at % kTrellisFeedbackColumns == 0) sums.fill(0);
    const int least = pass.padding[at] != 0      ? padded_step(pass, at, metric, next.data(), sums)
                      : pass.feedback != nullptr ? fed_step(pass, at, metric, next.data(), sums)
                                                 : encoded_step(pass, at, metric, next.data());
    for (int p = 0; p < overlaps; ++p) {
      metric[p] = static_cast<uint16_t>(next[static_cast<size_t>(p)] - least);
    }
  }
}

void trace(const TrellisPass& pass, int end, uint8_t* symbols) {
  const int mask = (1 << (pass.window - pass.bits)) - 1;
  int overlap = end;
  for (int step = pass.steps - 1; step >= 0; --step) {
    symbols[step] = pass.survivors[step * kMostOverlaps + overlap];
    overlap = (overlap << pass.bits | symbols[step]) & mask;
  }
}

}  // namespace

const TrellisPasses kTrellisPassesScalar = {
    .lanes = 1, .survivor_bytes = kMostOverlaps, .run = run, .trace = trace};

}  // namespace twofold

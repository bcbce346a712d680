// The passes by their definition: what the others must equal, and all of windows of 6 bits.
#include <algorithm>
#include <array>

#include "quant/simd/trellis_pass.h"

namespace twofold {
namespace {

constexpr int kMost = 0xffff;  // cost
constexpr int kMostOverlaps = 1 << 11;
constexpr int kIndices = 64;

/// Costs of all indices at a target.
std::array<uint16_t, kIndices> branch_costs(int target, const int16_t* levels) {
  std::array<uint16_t, kIndices> costs;
  for (size_t i = 0; i < kIndices; ++i) {
    const int d = std::clamp(target - levels[i], -0x8000, 0x7fff);
    costs[i] = static_cast<uint16_t>((d * d) >> 16);
  }
  return costs;
}

void run(const TrellisPass& pass) {
  const int overlaps = 1 << (pass.window - pass.bits), symbols = 1 << pass.bits;
  uint16_t* metric = pass.metric;
  for (int p = 0; p < overlaps; ++p) {
    metric[p] = static_cast<uint16_t>(pass.start < 0 || p == pass.start ? 0 : kMost);
  }
  std::array<uint16_t, kMostOverlaps> next;
  for (int step = 0; step < pass.steps; ++step) {
    const bool padded = pass.padding[step] != 0;
    const auto costs = branch_costs(pass.target[step], pass.levels);
    uint8_t* survivors = pass.survivors + step * kMostOverlaps;
    int least = kMost;
    for (int p = 0; p < overlaps; ++p) {
      int best = kMost + 1, oldest = 0;
      for (int symbol = 0; symbol < (padded ? 1 : symbols); ++symbol) {
        const int window = p << pass.bits | symbol;
        const int cost = padded ? 0 : costs[pass.index[window]];
        const int sum = std::min(metric[window & (overlaps - 1)] + cost, kMost);
        oldest = sum < best ? symbol : oldest;
        best = std::min(best, sum);
      }
      next[static_cast<size_t>(p)] = static_cast<uint16_t>(best);
      survivors[p] = static_cast<uint8_t>(oldest);
      least = std::min(least, best);
    }
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

// The passes of windows of 12 bits in vectors of 32 uint16, for files compiled for one instruction
// set, which define before they include it, with internal linkage:
//
//   Vec; load(p), store(p, v) of 64 aligned bytes, set1(x) of an int16, all_ones(),
//   branch_cost(x, levels), add(a, b) saturating, sub(a, b), min(a, b), least(v) in all lanes,
//   uint32_t less(a, b): bit mask_bit(l) is whether a < b in lane l,
//   evens(a, b), odds(a, b): every other lane of a, then of b.
//
// An overlap p of 12 - k bits, k = bits, is [a | b]: b names a vector, a (5 bits; 4 for k = 4,
// where the upper half of a vector repeats the lower, one new bit later) the lane. A window with
// the symbol n on top, [n | a | b], loses the low k bits of b: the least of 2^k vectors each. What
// is left is [n | a | b'], a vector for each n and b'; exchanging each bit of n in the names of
// vectors with the lowest bit of the lanes makes it [a' | b] again.
//
// The index of a window is linear over GF(2): that of its lane bits xor that of its vector bits.
// So the costs of a vector of branches are one of 64 vectors, made once a step.
#pragma once

#include <cstdint>

#include "quant/simd/trellis_layout.h"
#include "quant/simd/trellis_pass.h"

namespace twofold {
namespace {

/// The least of 2^kLevel neighbours from symbol kFirst on; masks of a heap of comparisons.
template <int kLevel, int kNode, int kFirst>
inline Vec least_branch(const uint16_t* metric, const uint16_t* offsets, const uint16_t* costs,
                        uint32_t* masks) {
  if constexpr (kLevel == 0) {
    return add(load(metric + kFirst * kTrellisLanes), load(costs + offsets[kFirst]));
  } else {
    constexpr int kHalf = 1 << (kLevel - 1);
    const Vec low = least_branch<kLevel - 1, 2 * kNode + 1, kFirst>(metric, offsets, costs, masks);
    const Vec high =
        least_branch<kLevel - 1, 2 * kNode + 2, kFirst + kHalf>(metric, offsets, costs, masks);
    masks[kNode] = less(high, low);
    return min(low, high);
  }
}

/// From [n | a | b'] in `next` to [a' | b] in `metric`, less `least`.
template <int kBits>
inline void exchange(uint16_t* next, Vec least, uint16_t* metric) {
  using L = TrellisLayout<kBits>;
  for (int bit = 0; bit < L::kSymbolBits; ++bit) {
    const int distance = 1 << (L::kKeptBits + bit);
    for (int first = 0; first < L::kGroups; first = ((first | distance) + 1) & ~distance) {
      uint16_t* low = next + first * kTrellisLanes;
      uint16_t* high = low + distance * kTrellisLanes;
      const Vec a = load(low), b = load(high);
      store(low, evens(a, b));
      store(high, odds(a, b));
    }
  }
  for (int group = 0; group < L::kGroups; ++group) {
    const Vec left = sub(load(next + group * kTrellisLanes), least);
    if constexpr (L::kRepeated == 0) {
      store(metric + group * kTrellisLanes, left);
    } else {
      store(metric + group * kTrellisLanes, evens(left, left));
      store(metric + (group + L::kGroups) * kTrellisLanes, odds(left, left));
    }
  }
}

template <int kBits>
inline void step(const TrellisPass& pass, int at, uint16_t* metric, uint16_t* next,
                 uint16_t* costs) {
  using L = TrellisLayout<kBits>;
  auto* masks = reinterpret_cast<uint32_t*>(pass.survivors + at * L::kSurvivorBytes);
  Vec least_of_all = all_ones();
  if (pass.padding[at] != 0) {
    for (int group = 0; group < L::kGroups; ++group) {
      const Vec kept = load(metric + ((group & L::kKeptMask) << kBits) * kTrellisLanes);
      store(next + group * kTrellisLanes, kept);
      least_of_all = min(least_of_all, kept);
    }
    for (int i = 0; i < L::kGroups * L::kNodes; ++i) masks[i] = 0;
  } else {
    const Vec x = set1(pass.target[at]);
    for (int i = 0; i < kTrellisOffsets; ++i) {
      store(costs + i * kTrellisLanes, branch_cost(x, load(pass.lanes + i * kTrellisLanes)));
    }
    for (int group = 0; group < L::kGroups; ++group) {
      const int first = (group & L::kKeptMask) << kBits;
      const Vec best =
          least_branch<kBits, 0, 0>(metric + first * kTrellisLanes, pass.offsets + (group << kBits),
                                    costs, masks + group * L::kNodes);
      store(next + group * kTrellisLanes, best);
      least_of_all = min(least_of_all, best);
    }
  }
  exchange<kBits>(next, least(least_of_all), metric);
}

template <int kBits>
inline void run_bits(const TrellisPass& pass) {
  using L = TrellisLayout<kBits>;
  alignas(64) uint16_t metric[L::kVectors * kTrellisLanes];
  alignas(64) uint16_t next[L::kGroups * kTrellisLanes];
  alignas(64) uint16_t costs[kTrellisOffsets * kTrellisLanes];
  for (int vector = 0; vector < L::kVectors; ++vector) {
    for (int lane = 0; lane < kTrellisLanes; ++lane) {
      const bool open = pass.start < 0 || pass.start == L::overlap(vector, lane);
      metric[vector * kTrellisLanes + lane] = open ? 0 : 0xffff;
    }
  }
  for (int at = 0; at < pass.steps; ++at) step<kBits>(pass, at, metric, next, costs);
  for (int vector = 0; vector < L::kVectors; ++vector) {
    for (int lane = 0; lane < kTrellisLanes; ++lane) {
      pass.metric[L::overlap(vector, lane)] = metric[vector * kTrellisLanes + lane];
    }
  }
}

constexpr int64_t most(int64_t a, int64_t b) { return a < b ? b : a; }
constexpr int64_t kTrellisSurvivorBytes =
    most(most(TrellisLayout<1>::kSurvivorBytes, TrellisLayout<2>::kSurvivorBytes),
         most(TrellisLayout<3>::kSurvivorBytes, TrellisLayout<4>::kSurvivorBytes));

void run(const TrellisPass& pass) {
  switch (pass.bits) {
    case 1:
      return run_bits<1>(pass);
    case 2:
      return run_bits<2>(pass);
    case 3:
      return run_bits<3>(pass);
    case 4:
      return run_bits<4>(pass);
  }
}

template <int kBits>
inline void trace_bits(const TrellisPass& pass, int end, uint8_t* symbols) {
  using L = TrellisLayout<kBits>;
  int overlap = end;
  for (int at = pass.steps - 1; at >= 0; --at) {
    const int newest = overlap >> (kTrellisWindow - 2 * kBits);
    const int lane = (newest & ((1 << L::kRepeated) - 1)) << L::kLaneBits |
                     (overlap >> L::kKeptBits & ((1 << L::kLaneBits) - 1));
    const int group = newest >> L::kRepeated << L::kKeptBits | (overlap & L::kKeptMask);
    const auto* masks = reinterpret_cast<const uint32_t*>(pass.survivors + at * L::kSurvivorBytes) +
                        group * L::kNodes;
    int symbol = 0, node = 0;
    for (int level = 0; level < kBits; ++level) {
      const int high = static_cast<int>(masks[node] >> mask_bit(lane) & 1u);
      symbol = symbol << 1 | high;
      node = 2 * node + 1 + high;
    }
    symbols[at] = static_cast<uint8_t>(symbol);
    overlap = (overlap << kBits | symbol) & ((1 << L::kOverlapBits) - 1);
  }
}

void trace(const TrellisPass& pass, int end, uint8_t* symbols) {
  switch (pass.bits) {
    case 1:
      return trace_bits<1>(pass, end, symbols);
    case 2:
      return trace_bits<2>(pass, end, symbols);
    case 3:
      return trace_bits<3>(pass, end, symbols);
    case 4:
      return trace_bits<4>(pass, end, symbols);
  }
}

}  // namespace
}  // namespace twofold

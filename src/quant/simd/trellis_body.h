// The passes of windows of 12 bits in vectors of 32 uint16, for files compiled for one instruction
// set, which define before they include it, with internal linkage:
//
//   Vec; load(p), store(p, v) of 64 aligned bytes, set1(x) of an int16, all_ones(),
//   square(d) >> 16 of int16, add(a, b) saturating, sub(a, b), min(a, b), least(v) in all lanes,
//   add_signed(a, b), sub_signed(a, b) saturating, product(a, b): of int16, rounded by 2^-15,
//   uint32_t less(a, b): bit mask_bit(l) is whether a < b in lane l,
//   pick(a, b, x, y): of the lanes of x where a < b, else of y,
//   evens(a, b), odds(a, b): every other lane of a, then of b.
//
// An overlap p of 12 - k bits, k = bits, is [a | b]: b names a vector, a (5 bits; 4 for k = 4,
// where the upper half of a vector repeats the lower, one new bit later) the lane. A window with
// the symbol n on top, [n | a | b], loses the low k bits of b: the least of 2^k vectors each. What
// is left is [n | a | b'], a vector for each n and b'; exchanging each bit of n in the names of
// vectors with the lowest bit of the lanes makes it [a' | b] again.
//
// The index of a window is linear over GF(2): that of its lane bits xor that of its vector bits.
// So the levels of a vector of branches are one of 64 vectors; without feedback also its costs,
// which are made once a step.
#pragma once

#include <cstdint>

#include "quant/simd/trellis_layout.h"
#include "quant/simd/trellis_pass.h"

namespace twofold {
namespace {

inline Vec branch_cost(Vec x, Vec levels) { return square(sub_signed(x, levels)); }

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

/// A step with feedback: of each overlap its target, and the sum of its way's errors.
struct Fed {
  const uint16_t *target, *sums;
  const uint16_t* lanes;   // [64, lanes] levels
  const uint16_t* errors;  // [64, lanes] what a branch adds to the sum of its way
  Vec weight;              // of the column
};

struct Way {
  Vec metric, sum;
};

/// The same with feedback, and the sums of the ways that are left.
template <int kDoublings, int kLevel, int kNode, int kFirst>
inline Way least_way(const uint16_t* metric, const uint16_t* offsets, const Fed& fed, int first,
                     uint32_t* masks) {
  if constexpr (kLevel == 0) {
    const int at = (first + kFirst) * kTrellisLanes, offset = offsets[kFirst];
    Vec d = product(sub_signed(load(fed.target + at), load(fed.lanes + offset)), fed.weight);
    for (int i = 0; i < kDoublings; ++i) d = add_signed(d, d);
    return {add(load(metric + at), square(d)),
            add_signed(load(fed.sums + at), load(fed.errors + offset))};
  } else {
    constexpr int kHalf = 1 << (kLevel - 1);
    const Way low = least_way<kDoublings, kLevel - 1, 2 * kNode + 1, kFirst>(metric, offsets, fed,
                                                                             first, masks);
    const Way high = least_way<kDoublings, kLevel - 1, 2 * kNode + 2, kFirst + kHalf>(
        metric, offsets, fed, first, masks);
    masks[kNode] = less(high.metric, low.metric);
    return {min(low.metric, high.metric), pick(high.metric, low.metric, high.sum, low.sum)};
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

/// What a pass keeps of each overlap, and of the branches of a step.
template <int kBits>
struct Scratch {
  using L = TrellisLayout<kBits>;
  alignas(64) uint16_t metric[L::kVectors * kTrellisLanes];
  alignas(64) uint16_t next[L::kGroups * kTrellisLanes];
  alignas(64) uint16_t costs[kTrellisOffsets * kTrellisLanes];
};

template <int kBits>
struct FedScratch {
  using L = TrellisLayout<kBits>;
  alignas(64) uint16_t target[L::kVectors * kTrellisLanes];
  alignas(64) uint16_t sums[L::kVectors * kTrellisLanes];
  alignas(64) uint16_t next_sums[L::kGroups * kTrellisLanes];
  alignas(64) uint16_t errors[kTrellisOffsets * kTrellisLanes];
};

/// A step whose symbol is 0 and costs nothing.  @param fed null: without feedback.
template <int kBits>
inline void padded_step(const TrellisPass& pass, int at, Scratch<kBits>& scratch,
                        FedScratch<kBits>* fed) {
  using L = TrellisLayout<kBits>;
  auto* masks = reinterpret_cast<uint32_t*>(pass.survivors + at * L::kSurvivorBytes);
  Vec least_of_all = all_ones();
  for (int group = 0; group < L::kGroups; ++group) {
    const int from = ((group & L::kKeptMask) << kBits) * kTrellisLanes;
    const Vec kept = load(scratch.metric + from);
    store(scratch.next + group * kTrellisLanes, kept);
    if (fed != nullptr) store(fed->next_sums + group * kTrellisLanes, load(fed->sums + from));
    least_of_all = min(least_of_all, kept);
  }
  for (int i = 0; i < L::kGroups * L::kNodes; ++i) masks[i] = 0;
  exchange<kBits>(scratch.next, least(least_of_all), scratch.metric);
  if (fed != nullptr) exchange<kBits>(fed->next_sums, set1(0), fed->sums);
}

template <int kBits, int kDoublings>
inline void fed_step(const TrellisPass& pass, int at, Scratch<kBits>& scratch,
                     FedScratch<kBits>& fed) {
  using L = TrellisLayout<kBits>;
  const TrellisFeedback& feedback = *pass.feedback;
  const int column = at % kTrellisFeedbackColumns;
  const Vec x = set1(pass.target[at]);
  const Vec to = set1(feedback.to[column]), from = set1(feedback.from[column]);
  for (int i = 0; i < kTrellisOffsets; ++i) {
    const Vec error = sub_signed(x, load(pass.lanes + i * kTrellisLanes));
    store(fed.errors + i * kTrellisLanes, product(error, from));
  }
  for (int vector = 0; vector < L::kVectors; ++vector) {
    Vec fed_back = product(load(fed.sums + vector * kTrellisLanes), to);
    for (int i = 0; i < feedback.doublings; ++i) fed_back = add_signed(fed_back, fed_back);
    store(fed.target + vector * kTrellisLanes, add_signed(x, fed_back));
  }
  auto* masks = reinterpret_cast<uint32_t*>(pass.survivors + at * L::kSurvivorBytes);
  const Fed branches = {.target = fed.target,
                        .sums = fed.sums,
                        .lanes = reinterpret_cast<const uint16_t*>(pass.lanes),
                        .errors = fed.errors,
                        .weight = set1(feedback.weight[column])};
  Vec least_of_all = all_ones();
  for (int group = 0; group < L::kGroups; ++group) {
    const Way best = least_way<kDoublings, kBits, 0, 0>(
        scratch.metric, pass.offsets + (group << kBits), branches, (group & L::kKeptMask) << kBits,
        masks + group * L::kNodes);
    store(scratch.next + group * kTrellisLanes, best.metric);
    store(fed.next_sums + group * kTrellisLanes, best.sum);
    least_of_all = min(least_of_all, best.metric);
  }
  exchange<kBits>(scratch.next, least(least_of_all), scratch.metric);
  exchange<kBits>(fed.next_sums, set1(0), fed.sums);
}

template <int kBits>
inline void step(const TrellisPass& pass, int at, Scratch<kBits>& scratch) {
  using L = TrellisLayout<kBits>;
  auto* masks = reinterpret_cast<uint32_t*>(pass.survivors + at * L::kSurvivorBytes);
  const Vec x = set1(pass.target[at]);
  for (int i = 0; i < kTrellisOffsets; ++i) {
    store(scratch.costs + i * kTrellisLanes, branch_cost(x, load(pass.lanes + i * kTrellisLanes)));
  }
  Vec least_of_all = all_ones();
  for (int group = 0; group < L::kGroups; ++group) {
    const int first = (group & L::kKeptMask) << kBits;
    const Vec best = least_branch<kBits, 0, 0>(scratch.metric + first * kTrellisLanes,
                                               pass.offsets + (group << kBits), scratch.costs,
                                               masks + group * L::kNodes);
    store(scratch.next + group * kTrellisLanes, best);
    least_of_all = min(least_of_all, best);
  }
  exchange<kBits>(scratch.next, least(least_of_all), scratch.metric);
}

template <int kBits, int kDoublings>
inline void run_fed(const TrellisPass& pass, Scratch<kBits>& scratch) {
  using L = TrellisLayout<kBits>;
  FedScratch<kBits> fed;
  for (int at = 0; at < pass.steps; ++at) {
    if (at % kTrellisFeedbackColumns == 0) {
      for (int i = 0; i < L::kVectors; ++i) store(fed.sums + i * kTrellisLanes, set1(0));
    }
    pass.padding[at] != 0 ? padded_step(pass, at, scratch, &fed)
                          : fed_step<kBits, kDoublings>(pass, at, scratch, fed);
  }
}

template <int kBits>
inline void run_bits(const TrellisPass& pass) {
  using L = TrellisLayout<kBits>;
  Scratch<kBits> scratch;
  for (int vector = 0; vector < L::kVectors; ++vector) {
    for (int lane = 0; lane < kTrellisLanes; ++lane) {
      const bool open = pass.start < 0 || pass.start == L::overlap(vector, lane);
      scratch.metric[vector * kTrellisLanes + lane] = open ? 0 : 0xffff;
    }
  }
  if (pass.feedback == nullptr) {
    for (int at = 0; at < pass.steps; ++at) {
      pass.padding[at] != 0 ? padded_step<kBits>(pass, at, scratch, nullptr)
                            : step(pass, at, scratch);
    }
  } else {
    switch (pass.feedback->weight_doublings) {
      case 0:
        run_fed<kBits, 0>(pass, scratch);
        break;
      case 1:
        run_fed<kBits, 1>(pass, scratch);
        break;
      case kMostWeightDoublings:
        run_fed<kBits, kMostWeightDoublings>(pass, scratch);
        break;
    }
  }
  for (int vector = 0; vector < L::kVectors; ++vector) {
    for (int lane = 0; lane < kTrellisLanes; ++lane) {
      pass.metric[L::overlap(vector, lane)] = scratch.metric[vector * kTrellisLanes + lane];
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

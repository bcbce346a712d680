// The encoder against the search by definition in float64, and against what the code promises.
#include "quant/trellis_encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/matrices.h"

namespace twofold {
namespace {

TrellisTarget normal_tile(Rng& rng, const TrellisCode& code) {
  TrellisTarget target{};
  for (float& value : target.value) {
    value = std::clamp(static_cast<float>(rng.normal() / code.unit), -163.0f, 163.0f);
  }
  return target;
}

double squared_error(const TrellisEncoder& encoder, const TrellisTarget& target,
                     const TrellisTile& windows) {
  double sum = 0;
  for (size_t step = 0; step < windows.size(); ++step) {
    if (target.padding[step] != 0) continue;
    const double e = target.value[step] - encoder.window_levels()[windows[step]];
    sum += e * e;
  }
  return sum;
}

/// The least squared error of all streams that begin and end with `overlap`.
double least_error(const TrellisEncoder& encoder, const TrellisTarget& target, uint32_t overlap) {
  const TrellisCode& code = encoder.code();
  const uint32_t overlaps = 1u << (code.window - code.bits);
  std::vector<double> cost(overlaps, INFINITY), next(overlaps);
  cost[overlap] = 0;
  for (size_t step = 0; step < target.value.size(); ++step) {
    std::fill(next.begin(), next.end(), INFINITY);
    for (uint32_t window = 0; window < 1u << code.window; ++window) {
      const bool padded = target.padding[step] != 0;
      if (padded && window % (1u << code.bits) != 0) continue;
      const double e = padded ? 0 : target.value[step] - encoder.window_levels()[window];
      double& best = next[window >> code.bits];
      best = std::min(best, cost[window & (overlaps - 1)] + e * e);
    }
    cost.swap(next);
  }
  return cost[overlap];
}

void expect_stream(const TrellisEncoder& encoder, const TrellisTarget& target,
                   const TrellisTile& windows) {
  TrellisTile symbols;
  for (size_t step = 0; step < windows.size(); ++step) {
    symbols[step] = static_cast<uint16_t>(windows[step] & ((1u << encoder.code().bits) - 1));
    if (target.padding[step] != 0) {
      EXPECT_EQ(symbols[step], 0) << step;
    }
  }
  EXPECT_EQ(windows, trellis_windows(symbols, encoder.code().bits, encoder.code().window));
}

class EveryTrellisEncoder : public ::testing::TestWithParam<TrellisCode> {};

TEST_P(EveryTrellisEncoder, FindsTheBestStreamForItsEndsButForTheRoundingOfCosts) {
  const TrellisEncoder encoder(GetParam(), Isa::kScalar);
  TrellisWorkspace workspace;
  Rng rng(1, "tiles");
  for (int tile = 0; tile < 4; ++tile) {
    TrellisTarget target = normal_tile(rng, GetParam());
    if (tile == 3) {
      for (size_t step = 0; step < 256; ++step) target.padding[step] = step % 16 >= 5 || step > 180;
    }
    for (const TrellisEnds ends : {TrellisEnds::kOnePass, TrellisEnds::kTwoPasses}) {
      const TrellisTile windows = encoder.encode(target, ends, workspace);
      expect_stream(encoder, target, windows);
      const uint32_t overlap = windows[0] & ((1u << (GetParam().window - GetParam().bits)) - 1);
      const double least = least_error(encoder, target, overlap);
      const double error = squared_error(encoder, target, windows);
      EXPECT_GE(error, least * (1 - 1e-12));
      EXPECT_LE(error, least * 1.01 + 1e-9);
    }
  }
}

TEST_P(EveryTrellisEncoder, ChoosesTheSameOnEveryInstructionSet) {
  const TrellisEncoder portable(GetParam(), Isa::kScalar);
  TrellisWorkspace workspace;
  for (const Isa isa : all_isas()) {
    if (isa == Isa::kScalar || !cpu_has(isa)) continue;
    const TrellisEncoder encoder(GetParam(), isa);
    Rng rng(5, "alike");
    for (int tile = 0; tile < 12; ++tile) {
      TrellisTarget target = normal_tile(rng, GetParam());
      if (tile % 3 == 1) {
        for (float& value : target.value) value = std::nearbyint(value / 40) * 40;  // ties
      }
      if (tile % 3 == 2) {
        for (float& value : target.value) value *= 4;  // beyond all levels
      }
      if (tile >= 6) {
        for (size_t step = 0; step < 256; ++step) {
          target.padding[step] = tile < 9 ? step % 16 >= 9 : rng.below(3) == 0;
        }
      }
      for (const TrellisEnds ends : {TrellisEnds::kOnePass, TrellisEnds::kTwoPasses}) {
        EXPECT_EQ(encoder.encode(target, ends, workspace), portable.encode(target, ends, workspace))
            << isa_name(isa) << " tile " << tile;
      }
    }
  }
}

TEST_P(EveryTrellisEncoder, KeepsItsErrorOnNormalTiles) {
  // Of a source of variance 1; no code of b bits can come below 2^-2b.
  const TrellisCode& code = GetParam();
  constexpr double kMost[] = {0, 0.285, 0.0710, 0.0190, 0.0059};
  constexpr double kMostLight[] = {0, 0.310, 0.0905, 0.0265};
  const TrellisEncoder encoder(code, select_isa());
  TrellisWorkspace workspace;
  Rng rng(77, "gaussian");
  double sum = 0;
  const bool fast = code.window == 6 || select_isa() != Isa::kScalar;
  const int tiles = fast ? 1000 : 40;
  for (int tile = 0; tile < tiles; ++tile) {
    const TrellisTarget target = normal_tile(rng, code);
    sum +=
        squared_error(encoder, target, encoder.encode(target, TrellisEnds::kTwoPasses, workspace));
  }
  EXPECT_LE(sum / (256.0 * tiles) * code.unit * code.unit,
            (code.window == 12 ? kMost : kMostLight)[code.bits] * (fast ? 1 : 1.03));
}

TEST_P(EveryTrellisEncoder, SurvivesDegenerateTiles) {
  const TrellisEncoder encoder(GetParam(), Isa::kScalar);
  TrellisWorkspace workspace;
  std::vector<TrellisTarget> tiles(6);
  tiles[1].value[7] = std::numeric_limits<float>::max();
  tiles[2].value.fill(-std::numeric_limits<float>::infinity());
  tiles[3].value.fill(std::numeric_limits<float>::denorm_min());
  for (size_t step = 0; step < 256; ++step) {
    tiles[4].value[step] = step % 2 == 0 ? 1e30f : -1e30f;
  }
  tiles[5].padding.fill(1);
  for (const TrellisTarget& target : tiles) {
    for (const TrellisEnds ends : {TrellisEnds::kOnePass, TrellisEnds::kTwoPasses}) {
      expect_stream(encoder, target, encoder.encode(target, ends, workspace));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Codes, EveryTrellisEncoder, ::testing::ValuesIn(kTrainedTrellisCodes),
                         [](const auto& param) {
                           return std::to_string(param.param.bits) + "bits" +
                                  std::to_string(param.param.window);
                         });

}  // namespace
}  // namespace twofold

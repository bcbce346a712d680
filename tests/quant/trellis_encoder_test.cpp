// The encoder against the search by definition in float64, and against what the code promises.
#include "quant/trellis_encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "quant/trellis_feedback.h"
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

TrellisFeedback some_feedback(Rng& rng, int doublings) {
  TrellisFeedback feedback{};
  feedback.doublings = doublings;
  feedback.weight_doublings = doublings % (kMostWeightDoublings + 1);
  for (size_t i = 0; i < std::size(feedback.from); ++i) {
    feedback.from[i] = static_cast<int16_t>(static_cast<int>(rng.below(0xffff)) - 0x7fff);
    feedback.to[i] = static_cast<int16_t>(static_cast<int>(rng.below(0xffff)) - 0x7fff);
    feedback.weight[i] = static_cast<int16_t>(0x1000 + rng.below(0x7000));
  }
  return feedback;
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
      const TrellisFeedback feedback = some_feedback(rng, tile % 4);
      for (const TrellisEnds ends : {TrellisEnds::kOnePass, TrellisEnds::kTwoPasses}) {
        for (const TrellisFeedback* fed :
             {static_cast<const TrellisFeedback*>(nullptr), &feedback}) {
          target.feedback = fed;
          EXPECT_EQ(encoder.encode(target, ends, workspace),
                    portable.encode(target, ends, workspace))
              << isa_name(isa) << " tile " << tile << (fed != nullptr ? ", feedback" : "");
        }
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

/// R^T of a block where H is `own` times the identity and v v^T, v with all elements `v`.
std::vector<double> one_direction(int64_t n, double own, double v) {
  std::vector<double> lower(static_cast<size_t>(n * n));
  const auto at = [&](int64_t j, int64_t i) -> double& {
    return lower[static_cast<size_t>(j * n + i)];
  };
  for (int64_t j = n - 1; j >= 0; --j) {
    for (int64_t i = j; i >= 0; --i) {
      double sum = v * v + (i == j ? own : 0);
      for (int64_t k = j + 1; k < n; ++k) sum -= at(k, i) * at(k, j);
      at(j, i) = i == j ? std::sqrt(sum) : sum / at(j, j);
    }
  }
  return lower;
}

/// The sum of |e R|^2 over the rows of a tile.
double loss_of(const TrellisEncoder& encoder, const TrellisTarget& target,
               const TrellisTile& windows, Matrix<const double> lower) {
  double sum = 0;
  for (size_t row = 0; row < 16; ++row) {
    for (int64_t j = 0; j < 16; ++j) {
      double product = 0;
      for (int64_t i = 0; i <= j; ++i) {
        const size_t step = row * 16 + static_cast<size_t>(i);
        product += (target.value[step] - encoder.window_levels()[windows[step]]) * lower.at(j, i);
      }
      sum += product * product;
    }
  }
  return sum;
}

TEST_P(EveryTrellisEncoder, FeedsTheErrorsOfARowBackWhereOneDirectionRules) {
  const TrellisEncoder encoder(GetParam(), select_isa());
  const std::vector<double> factor = one_direction(16, 1, 2);
  const Matrix<const double> lower(factor.data(), 16, 16);
  const std::optional<TrellisFeedback> feedback = fit_trellis_feedback(lower);
  ASSERT_TRUE(feedback);
  double own = 0, all = 0;  // what no feedback inside a row can save, and what is there
  for (int64_t j = 0; j < 16; ++j) {
    own += lower.at(j, j) * lower.at(j, j);
    for (int64_t i = 0; i <= j; ++i) all += lower.at(j, i) * lower.at(j, i);
  }
  TrellisWorkspace workspace;
  Rng rng(9, "direction");
  double plain = 0, fed = 0;
  const int tiles = GetParam().window == 6 || select_isa() != Isa::kScalar ? 100 : 10;
  for (int tile = 0; tile < tiles; ++tile) {
    TrellisTarget target = normal_tile(rng, GetParam());
    const auto encode = [&] {
      return loss_of(encoder, target, encoder.encode(target, TrellisEnds::kTwoPasses, workspace),
                     lower);
    };
    plain += encode();
    target.feedback = &*feedback;
    fed += encode();
  }
  RecordProperty("share", std::to_string(fed / plain));
  EXPECT_LT(fed / plain, own / all * 1.15);
}

TEST(TrellisFeedback, IsExactForADiagonalAndOneDirection) {
  const std::vector<double> factor = one_direction(16, 1, 3);
  const Matrix<const double> lower(factor.data(), 16, 16);
  const std::optional<TrellisFeedback> feedback = fit_trellis_feedback(lower);
  ASSERT_TRUE(feedback);
  for (int64_t j = 1; j < 16; ++j) {
    for (int64_t i = 0; i < j; ++i) {
      const double product = static_cast<double>(feedback->from[i]) * feedback->to[j];
      EXPECT_NEAR(std::ldexp(product, feedback->doublings - 30), lower.at(j, i) / lower.at(j, j),
                  std::ldexp(1.0, feedback->doublings - 14))
          << i << ' ' << j;
    }
  }
}

TEST(TrellisFeedback, IsLeftOutWhereItSavesLittle) {
  for (const int64_t n : {1, 2, 16}) {
    const std::vector<double> factor = one_direction(n, 1, 0.05);
    EXPECT_FALSE(fit_trellis_feedback({factor.data(), n, n})) << n;
  }
  const std::vector<double> identity = one_direction(16, 1, 0);
  EXPECT_FALSE(fit_trellis_feedback({identity.data(), 16, 16}));
  EXPECT_FALSE(fit_trellis_feedback({}));
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

#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "base/error.h"

namespace twofold {
namespace {

const std::vector<float> kLogits = {1.0f, 3.0f, 2.0f, 3.0f, -1.0f};

int32_t one(const SamplerOptions& options, std::vector<int32_t> history = {}) {
  Sampler sampler(options);
  std::vector<float> logits = kLogits;
  return sampler.sample(logits, history);
}

std::map<int32_t, double> frequencies(const SamplerOptions& options, int draws) {
  Sampler sampler(options);
  std::map<int32_t, double> counts;
  for (int i = 0; i < draws; ++i) {
    std::vector<float> logits = kLogits;
    counts[sampler.sample(logits, {})] += 1.0 / draws;
  }
  return counts;
}

SamplerOptions plain(float temperature) {
  return {.temperature = temperature, .top_k = 0, .top_p = 1, .min_p = 0};
}

TEST(Sampler, TemperatureZeroTakesTheLowestIdOfTheLargestLogits) { EXPECT_EQ(one(plain(0)), 1); }

TEST(Sampler, DrawsFollowTheSoftmax) {
  for (const float temperature : {0.7f, 1.0f, 2.0f}) {
    double total = 0;
    for (const float logit : kLogits) total += std::exp(double{logit} / temperature);
    const auto seen = frequencies(plain(temperature), 40000);
    for (const auto& [id, frequency] : seen) {
      const double p = std::exp(double{kLogits[static_cast<size_t>(id)]} / temperature) / total;
      EXPECT_NEAR(frequency, p, 5 * std::sqrt(p * (1 - p) / 40000)) << id;
    }
    EXPECT_EQ(seen.size(), kLogits.size());
  }
}

std::set<int32_t> support(const SamplerOptions& options) {
  std::set<int32_t> ids;
  for (const auto& [id, frequency] : frequencies(options, 3000)) ids.insert(id);
  return ids;
}

TEST(Sampler, EachFilterKeepsWhatItsDefinitionSays) {
  SamplerOptions o = plain(3);
  o.top_k = 2;
  EXPECT_EQ(support(o), (std::set<int32_t>{1, 3}));
  o = plain(3);
  // Probabilities at temperature 1: 0.400 0.400 0.147 0.054 0.007: 0.85 needs three tokens.
  o.top_p = 0.85f;
  EXPECT_EQ(support(o), (std::set<int32_t>{1, 2, 3}));
  o.top_p = 0.3f;
  EXPECT_EQ(support(o), (std::set<int32_t>{1}));
  o = plain(3);
  o.min_p = 0.3f;  // exp(2 - 3) = 0.37 stays, exp(1 - 3) = 0.14 goes
  EXPECT_EQ(support(o), (std::set<int32_t>{1, 2, 3}));
}

TEST(Sampler, RepetitionPenaltyLooksBackOnlySoFar) {
  SamplerOptions o = plain(0);
  o.repeat_penalty = 2;
  o.repeat_last_n = 2;
  EXPECT_EQ(one(o, {1, 4, 4}), 1);
  EXPECT_EQ(one(o, {4, 4, 1}), 3);
  EXPECT_EQ(one(o, {1, 3}), 2);
}

TEST(Sampler, SameSeedSameTokens) {
  SamplerOptions o = plain(1);
  o.seed = 5;
  Sampler a(o), b(o);
  for (int i = 0; i < 50; ++i) {
    std::vector<float> x = kLogits, y = kLogits;
    EXPECT_EQ(a.sample(x, {}), b.sample(y, {}));
  }
}

TEST(Sampler, ValuesOutOfRangeAreRefused) {
  for (const SamplerOptions& bad :
       {SamplerOptions{.temperature = -1}, SamplerOptions{.top_k = -1}, SamplerOptions{.top_p = 0},
        SamplerOptions{.top_p = 1.5f}, SamplerOptions{.min_p = 2},
        SamplerOptions{.repeat_penalty = 0}, SamplerOptions{.repeat_last_n = -1}}) {
    EXPECT_THROW(Sampler{bad}, Error);
  }
}

}  // namespace
}  // namespace twofold

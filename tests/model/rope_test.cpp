#include <gtest/gtest.h>

#include <cmath>

#include "model/rope_factors.h"

namespace twofold {
namespace {

TEST(Rope, PlainFrequenciesArePowersOfTheta) {
  RopeConfig rope;
  rope.theta = 100;
  rope.dims = 8;
  const std::vector<float> f = rope_frequencies(rope);
  ASSERT_EQ(f.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(f[i], static_cast<float>(std::pow(100.0, -2.0 * static_cast<double>(i) / 8)));
  }
  rope.scaling = RopeScaling::kLinear;
  rope.factor = 4;
  EXPECT_FLOAT_EQ(rope_frequencies(rope)[3], f[3] / 4);
}

TEST(Rope, Llama3KeepsShortWavesDividesLongOnesAndBlendsBetween) {
  RopeConfig rope;
  rope.theta = 500000;
  rope.dims = 128;
  const std::vector<float> plain = rope_frequencies(rope);
  rope.scaling = RopeScaling::kLlama3;
  rope.factor = 8;
  rope.original_context = 8192;
  const std::vector<float> scaled = rope_frequencies(rope);
  EXPECT_EQ(scaled[0], plain[0]);
  EXPECT_FLOAT_EQ(scaled[63], plain[63] / 8);
  int between = 0;
  for (size_t i = 0; i + 1 < 64; ++i) {
    const float now = plain[i] / scaled[i], next = plain[i + 1] / scaled[i + 1];
    EXPECT_LE(now, next * 1.0001f);
    if (now > 1.001f && now < 7.999f) ++between;
  }
  EXPECT_GT(between, 3);
}

}  // namespace
}  // namespace twofold

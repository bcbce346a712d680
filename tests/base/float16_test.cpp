#include "base/float16.h"

#include <gtest/gtest.h>

#include <cmath>

namespace twofold {
namespace {

TEST(Float16, EveryPatternSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Float16 h{static_cast<uint16_t>(bits)};
    const float value = to_float(h);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(to_float(to_float16(value))));
    } else {
      EXPECT_EQ(to_float16(value), h) << bits;
    }
  }
}

TEST(Float16, RoundsToNearestEven) {
  // Midpoints between neighbours go to the even pattern; anything beyond goes to the nearer one.
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const float low = to_float(Float16{static_cast<uint16_t>(bits)});
    const float high = to_float(Float16{static_cast<uint16_t>(bits + 1)});
    const float middle = low + (high - low) / 2;
    EXPECT_EQ(to_float16(middle).bits, bits + (bits & 1)) << bits;
    EXPECT_EQ(to_float16(std::nextafter(middle, high)).bits, bits + 1) << bits;
    EXPECT_EQ(to_float16(std::nextafter(middle, low)).bits, bits) << bits;
  }
  EXPECT_EQ(to_float16(65519.0f).bits, 0x7bff);
  EXPECT_EQ(to_float16(65520.0f).bits, 0x7c00);
}

TEST(BFloat16, EveryPatternSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BFloat16 b{static_cast<uint16_t>(bits)};
    if (std::isnan(to_float(b))) {
      EXPECT_TRUE(std::isnan(to_float(to_bfloat16(to_float(b)))));
    } else {
      EXPECT_EQ(to_bfloat16(to_float(b)), b);
    }
  }
  EXPECT_EQ(to_bfloat16(1.00390625f).bits, 0x3f80);  // midpoint to even
  EXPECT_EQ(to_bfloat16(1.01171875f).bits, 0x3f82);
}

}  // namespace
}  // namespace twofold

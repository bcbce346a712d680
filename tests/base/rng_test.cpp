#include "base/rng.h"

#include <gtest/gtest.h>

#include <cmath>

namespace twofold {
namespace {

TEST(Rng, StreamDependsOnSeedAndKeyOnly) {
  Rng a(7, "layer"), b(7, "layer"), c(8, "layer"), d(7, "other");
  const uint64_t first = a.next_u64();
  EXPECT_EQ(first, b.next_u64());
  EXPECT_NE(first, c.next_u64());
  EXPECT_NE(first, d.next_u64());
}

TEST(Rng, GoldenChecksumIsTheSameOnEveryMachine) {
  Rng rng(42, "golden");
  uint64_t sum = 0;
  double normals = 0;
  for (int i = 0; i < 1000; ++i) sum = sum * 31 + rng.next_u64();
  for (int i = 0; i < 1000; ++i) normals += rng.normal();
  EXPECT_EQ(sum, 1269053226624511900ull);
  EXPECT_EQ(normals, -0x1.b150619cd18d7p+3);
}

TEST(Rng, NormalHasMeanZeroAndVarianceOne) {
  Rng rng(1);
  const int n = 200000;
  double sum = 0, squares = 0, tails = 0;
  for (int i = 0; i < n; ++i) {
    const double x = rng.normal();
    sum += x;
    squares += x * x;
    tails += std::abs(x) > 1.959964 ? 1 : 0;
  }
  // Five standard errors of each estimate.
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2.0 / n));
  EXPECT_NEAR(tails / n, 0.05, 5 * std::sqrt(0.05 * 0.95 / n));
}

TEST(Rng, BelowIsUniform) {
  Rng rng(3);
  int counts[7] = {};
  for (int i = 0; i < 70000; ++i) ++counts[rng.below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
}

}  // namespace
}  // namespace twofold

#include "calib/filled_moment.h"

#include <gtest/gtest.h>

#include "calib/moment_sum.h"
#include "support/matrices.h"

namespace twofold {
namespace {

using testing::normal_numbers;

constexpr int64_t kCols = 24;

SecondMoment moment_of(const std::vector<float>& numbers) {
  ThreadPool pool(1);
  MomentSum sum(kCols);
  const int64_t tokens = std::ssize(numbers) / kCols;
  if (tokens > 0) sum.add_sequence({numbers.data(), tokens, kCols}, {.pool = pool});
  return std::move(sum).mean();
}

TEST(FilledMoment, EnoughTokensStayAsTheyAre) {
  const SecondMoment before = moment_of(normal_numbers(kCols * kCols, 1.0, "enough"));
  SecondMoment after = before;
  fill_up(after, nullptr);
  EXPECT_FALSE(has_few_tokens(before));
  EXPECT_EQ(after.h, before.h);
  EXPECT_EQ(after.mean_magnitude, before.mean_magnitude);
}

TEST(FilledMoment, MissingTokensAreThoseOfTheWiderInput) {
  const SecondMoment wider = moment_of(normal_numbers(100 * kCols, 2.0, "all"));
  for (const int64_t tokens : {int64_t{0}, int64_t{6}, kCols - 1}) {
    const SecondMoment own = moment_of(normal_numbers(tokens * kCols, 1.0, "own"));
    SecondMoment filled = own;
    fill_up(filled, &wider);
    EXPECT_EQ(filled.tokens, tokens);
    const double share = static_cast<double>(tokens) / kCols;
    for (size_t i = 0; i < own.h.size(); ++i) {
      ASSERT_NEAR(filled.h[i], share * own.h[i] + (1 - share) * wider.h[i], 1e-12);
    }
    for (size_t j = 0; j < own.mean_magnitude.size(); ++j) {
      ASSERT_NEAR(filled.mean_magnitude[j],
                  share * own.mean_magnitude[j] + (1 - share) * wider.mean_magnitude[j], 1e-12);
    }
  }
}

TEST(FilledMoment, WithoutAWiderInputItIsTheIdentityOfTheSameSize) {
  SecondMoment none = moment_of({});
  fill_up(none, nullptr);
  const SecondMoment own = moment_of(normal_numbers(6 * kCols, 3.0, "few"));
  SecondMoment few = own;
  fill_up(few, nullptr);
  double trace = 0, filled_trace = 0;
  for (int64_t i = 0; i < kCols; ++i) {
    for (int64_t j = 0; j < kCols; ++j) {
      const auto at = static_cast<size_t>(i * kCols + j);
      EXPECT_EQ(none.h[at], i == j ? 1 : 0);
      if (i == j) {
        trace += own.h[at];
        filled_trace += few.h[at];
        EXPECT_GT(few.h[at], 0);
      } else {
        EXPECT_NEAR(few.h[at], own.h[at] / 4, 1e-12);
      }
    }
    EXPECT_EQ(none.mean_magnitude[static_cast<size_t>(i)], 1);
  }
  EXPECT_NEAR(filled_trace, trace, 1e-9 * trace);
}

}  // namespace
}  // namespace twofold

#include "calib/moment_sum.h"

#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <limits>

#include "support/matrices.h"

namespace twofold {
namespace {

using testing::normal_numbers;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

SecondMoment moment_of(std::span<const Matrix<const float>> sequences, int64_t cols,
                       int threads = 2) {
  ThreadPool pool(threads);
  const Context ctx{.pool = pool, .isa = select_isa()};
  MomentSum sum(cols);
  for (const Matrix<const float> x : sequences) sum.add_sequence(x, ctx);
  return sum.mean();
}

// Within a sequence of T tokens a float sum is off by at most (T + 1) eps sum |x y|; adding the
// sequences in double adds nothing of that size.
TEST(MomentSum, IsTheMeanOfTheOuterProductsOfAllSequences) {
  const int64_t cols = 70;
  const std::vector<int64_t> lengths = {300, 1, 64};
  std::vector<std::vector<float>> numbers;
  std::vector<Matrix<const float>> sequences;
  for (const int64_t tokens : lengths) {
    numbers.push_back(normal_numbers(tokens * cols, 1.0, fmt::format("sequence {}", tokens)));
    sequences.emplace_back(numbers.back().data(), tokens, cols);
  }
  const SecondMoment moment = moment_of(sequences, cols);
  EXPECT_EQ(moment.cols, cols);
  EXPECT_EQ(moment.tokens, 365);
  ASSERT_EQ(moment.h.size(), static_cast<size_t>(cols * cols));
  for (int64_t i = 0; i < cols; ++i) {
    double size = 0;
    for (int64_t j = 0; j < cols; ++j) {
      double expected = 0, magnitude = 0;
      for (const Matrix<const float> x : sequences) {
        for (int64_t t = 0; t < x.rows; ++t) {
          expected += double{x.at(t, i)} * double{x.at(t, j)};
          magnitude += std::fabs(double{x.at(t, i)} * double{x.at(t, j)});
          if (j == 0) size += std::fabs(double{x.at(t, i)});
        }
      }
      const double found = moment.h[static_cast<size_t>(i * cols + j)];
      ASSERT_NEAR(found, expected / 365, 2 * 301 * FLT_EPSILON * magnitude / 365) << i << ", " << j;
      ASSERT_EQ(found, moment.h[static_cast<size_t>(j * cols + i)]) << "symmetric";
    }
    ASSERT_NEAR(moment.mean_magnitude[static_cast<size_t>(i)], size / 365, 1e-12);
  }
}

TEST(MomentSum, ThreadCountDoesNotChangeOneBit) {
  const int64_t tokens = 500, cols = 333;
  const std::vector<float> numbers = normal_numbers(tokens * cols, 1.0, "threads");
  const Matrix<const float> x(numbers.data(), tokens, cols);
  const std::vector<Matrix<const float>> sequences(2, x);
  const SecondMoment one = moment_of(sequences, cols, 1);
  for (const int threads : {2, 3}) {
    const SecondMoment more = moment_of(sequences, cols, threads);
    EXPECT_EQ(one.h, more.h) << threads;
    EXPECT_EQ(one.mean_magnitude, more.mean_magnitude) << threads;
  }
}

TEST(MomentSum, LeavesOutAndCountsTokensThatAreNotFinite) {
  const int64_t tokens = 100, cols = 20, stride = 23;
  std::vector<float> numbers = normal_numbers(tokens * stride, 1.0, "dropped");
  const Matrix<float> x(numbers.data(), tokens, cols, stride);
  x.at(0, 19) = kNan;
  x.at(50, 0) = kInfinity;
  x.at(51, 7) = -kInfinity;
  x.at(99, 3) = -0x1p57f;  // its square would be 2^114
  for (int64_t r = 0; r < tokens; ++r) x.data[r * stride + cols] = kNan;  // between rows
  std::vector<float> rest;
  for (int64_t r = 0; r < tokens; ++r) {
    if (r == 0 || r == 50 || r == 51 || r == 99) continue;
    rest.insert(rest.end(), x.row(r).begin(), x.row(r).end());
  }
  ThreadPool pool(2);
  const Context ctx{.pool = pool, .isa = select_isa()};
  MomentSum some(cols), clean(cols);
  some.add_sequence(x, ctx);
  clean.add_sequence({rest.data(), 96, cols}, ctx);
  EXPECT_EQ(some.tokens(), 96);
  EXPECT_EQ(some.dropped(), 4);
  EXPECT_EQ(clean.dropped(), 0);
  EXPECT_EQ(some.mean().h, clean.mean().h);
  EXPECT_EQ(some.mean().mean_magnitude, clean.mean().mean_magnitude);
}

TEST(MomentSum, OfTokensThatAreAllUnusableIsZero) {
  const std::vector<float> numbers(12, kNan);
  ThreadPool pool(1);
  const Context ctx{.pool = pool, .isa = select_isa()};
  MomentSum sum(4);
  sum.add_sequence({numbers.data(), 3, 4}, ctx);
  EXPECT_EQ(sum.dropped(), 3);
  const SecondMoment moment = std::move(sum).mean();
  EXPECT_EQ(moment.tokens, 0);
  EXPECT_EQ(moment.h, std::vector<double>(16, 0.0));
}

TEST(MomentSum, LargestUsableNumbersDoNotOverflow) {
  const std::vector<float> numbers(2048, 0x1p56f);
  const Matrix<const float> x(numbers.data(), 2048, 1);
  const SecondMoment moment = moment_of({&x, 1}, 1);
  EXPECT_EQ(moment.h[0], 0x1p112);
}

}  // namespace
}  // namespace twofold

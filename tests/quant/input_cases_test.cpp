// Inputs at the edge, through `solve`, for every method of the table: handled, or refused by name.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "quant/method.h"
#include "support/matrices.h"

namespace twofold {
namespace {

/// H of `tokens` random inputs. @return [cols, cols].
SecondMoment moment_of(int64_t cols, int64_t tokens) {
  const std::vector<float> x = testing::normal_numbers(tokens * cols, 1.0, "edge inputs");
  SecondMoment moment{.cols = cols, .tokens = tokens, .h = {}, .mean_magnitude = {}};
  moment.h.assign(static_cast<size_t>(cols * cols), 0.0);
  moment.mean_magnitude.assign(static_cast<size_t>(cols), 0.0);
  for (int64_t t = 0; t < tokens; ++t) {
    const float* row = x.data() + t * cols;
    for (int64_t i = 0; i < cols; ++i) {
      moment.mean_magnitude[static_cast<size_t>(i)] +=
          std::fabs(row[i]) / static_cast<double>(tokens);
      for (int64_t j = 0; j < cols; ++j) {
        moment.h[static_cast<size_t>(i * cols + j)] +=
            static_cast<double>(row[i]) * row[j] / static_cast<double>(tokens);
      }
    }
  }
  return moment;
}

std::vector<MethodRequest> requests() {
  std::vector<MethodRequest> all;
  for (const Method& method : all_methods()) {
    for (const int64_t group : {0, 32}) {
      const MethodRequest request{.method = std::string(method.name), .group = group};
      try {
        choose_method(request);
      } catch (const Error&) {
        continue;  // one scale for the matrix has no groups
      }
      all.push_back(request);
    }
  }
  return all;
}

/// Every method gives finite weights near the given ones, and the same with two threads.
void expect_handled(const std::vector<float>& weight, int64_t rows, const SecondMoment& moment) {
  const int64_t cols = moment.cols;
  for (const MethodRequest& request : requests()) {
    SCOPED_TRACE(fmt::format("{}, group {}", request.method, *request.group));
    const auto solved = [&](int threads) {
      ThreadPool pool(threads, false);
      return solve(choose_method(request),
                   {.weight = {weight.data(), rows, cols},
                    .moment = &moment,
                    .input_name = "in",
                    .matrix_name = "w"},
                   {.pool = pool, .isa = select_isa()});
    };
    const Solution solution = solved(1);
    validate(solution.q);
    EXPECT_TRUE(solution.q == solved(2).q);
    EXPECT_TRUE(std::isfinite(solution.proxy_loss));
    EXPECT_LE(solution.proxy_loss, 1);
    std::vector<float> restored(weight.size());
    restore(solution.q, {restored.data(), rows, cols});
    for (float value : restored) ASSERT_TRUE(std::isfinite(value));
  }
}

/// tr(E H E^T) / tr(W H W^T).
double relative_loss(const std::vector<float>& weight, const std::vector<float>& changed,
                     const SecondMoment& moment) {
  const auto norm = [&](auto&& entry) {
    double sum = 0;
    for (size_t row = 0; row < weight.size(); row += static_cast<size_t>(moment.cols)) {
      for (size_t i = 0; i < static_cast<size_t>(moment.cols); ++i) {
        for (size_t j = 0; j < static_cast<size_t>(moment.cols); ++j) {
          sum +=
              entry(row + i) * entry(row + j) * moment.h[i * static_cast<size_t>(moment.cols) + j];
        }
      }
    }
    return sum;
  };
  return norm([&](size_t i) { return static_cast<double>(changed[i]) - weight[i]; }) /
         norm([&](size_t i) { return static_cast<double>(weight[i]); });
}

// Weights are Gaussian after the transforms, so the distortion of a uniform grid at its best scale
// is known: 0.0115 at 4 bits.
TEST(ExpectedError, LeavesTheLossThatRoundingLeaves) {
  constexpr int64_t kRows = 64, kCols = 128;
  const SecondMoment moment = moment_of(kCols, 160);
  const std::vector<float> weight = testing::normal_numbers(kRows * kCols, 0.1, "expected error");
  ThreadPool pool(2, false);
  for (const std::string method : {"hadamard-levels", "quip"}) {
    const MethodChoice choice = choose_method({.method = method, .bits = 4});
    const Problem problem{.weight = {weight.data(), kRows, kCols},
                          .moment = &moment,
                          .input_name = "in",
                          .matrix_name = "w"};
    const double rounded = solve(choice, problem, {.pool = pool}).proxy_loss;
    std::vector<float> changed(weight.size());
    add_expected_error(choice, problem, 0.0115, {.pool = pool}, {changed.data(), kRows, kCols});
    const double expected = relative_loss(weight, changed, moment);
    EXPECT_NEAR(expected / rounded, 1, 0.4) << method << ' ' << expected << ' ' << rounded;
    ThreadPool alone(1, false);
    std::vector<float> again(weight.size());
    add_expected_error(choice, problem, 0.0115, {.pool = alone}, {again.data(), kRows, kCols});
    EXPECT_EQ(again, changed);
  }
}

TEST(InputCases, SingularMomentWithADeadInput) {
  const int64_t rows = 24, cols = 64;
  SecondMoment moment = moment_of(cols, 2);
  for (int64_t j = 0; j < cols; ++j) {
    moment.h[static_cast<size_t>(5 * cols + j)] = moment.h[static_cast<size_t>(j * cols + 5)] = 0;
  }
  moment.mean_magnitude[5] = 0;
  expect_handled(testing::normal_numbers(rows * cols, 0.02, "edge"), rows, moment);
}

TEST(InputCases, MomentOfInputsThatWereAlwaysZero) {
  const int64_t rows = 24, cols = 64;
  SecondMoment moment = moment_of(cols, 4);
  std::fill(moment.h.begin(), moment.h.end(), 0.0);
  std::fill(moment.mean_magnitude.begin(), moment.mean_magnitude.end(), 0.0);
  expect_handled(testing::normal_numbers(rows * cols, 0.02, "edge"), rows, moment);
}

TEST(InputCases, RowsOfZeros) {
  const int64_t rows = 24, cols = 64;
  std::vector<float> weight = testing::normal_numbers(rows * cols, 0.02, "edge");
  std::fill(weight.begin() + 3 * cols, weight.begin() + 7 * cols, 0.0f);
  expect_handled(weight, rows, moment_of(cols, 100));
}

TEST(InputCases, MatrixOfZeros) {
  expect_handled(std::vector<float>(24 * 64), 24, moment_of(64, 100));
}

TEST(InputCases, GroupThatDoesNotDivideTheRow) {
  const int64_t rows = 24, cols = 80;  // 32, 32 and 16
  expect_handled(testing::normal_numbers(rows * cols, 0.02, "edge"), rows, moment_of(cols, 100));
}

TEST(InputCases, PrimeDimensions) {
  const int64_t rows = 37, cols = 53;
  expect_handled(testing::normal_numbers(rows * cols, 0.02, "edge"), rows, moment_of(cols, 100));
}

TEST(InputCases, OneColumn) {
  for (const int64_t rows : {1, 29}) {
    expect_handled(testing::normal_numbers(rows, 0.02, "edge"), rows, moment_of(1, 100));
  }
}

TEST(InputCases, OneRow) {
  expect_handled(testing::normal_numbers(64, 0.02, "edge"), 1, moment_of(64, 100));
}

}  // namespace
}  // namespace twofold

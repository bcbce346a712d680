// LDLQ against the textbook form of GPTQ, the figures of the QuIP paper's counterexample, and what
// holds for any input.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "quant/method.h"
#include "support/matrices.h"
#include "tensor/linalg.h"

namespace twofold {
namespace {

/// Integers 0 to 15 of step 1, or all whole numbers from -32768 on if not clamped.
class IntegerGrid final : public FittedGrid {
 public:
  IntegerGrid(int64_t rows, int64_t cols, bool clamped) : clamped_(clamped) {
    q_.rows = rows;
    q_.cols = cols;
  }
  int64_t group() const override { return 0; }
  Scheme scheme() const override { return q_.scheme; }
  void fit(int64_t, Matrix<const float>, std::span<const float>, ThreadPool&) override {}
  std::span<const float> explore_factors() const override {
    static constexpr float kOne[] = {1.0f};
    return kOne;
  }
  int64_t rows_sharing() const override { return 1; }
  std::unique_ptr<FittedGrid> rescaled(float) const override {
    return std::make_unique<IntegerGrid>(*this);
  }
  void take_row(int64_t, const FittedGrid&) override {}
  void round(int64_t, int64_t, Matrix<const float> target, Matrix<uint16_t> codes,
             Matrix<float> value) const override {
    for (int64_t r = 0; r < target.rows; ++r) {
      for (int64_t c = 0; c < target.cols; ++c) {
        const float whole = std::nearbyint(target.at(r, c));
        value.at(r, c) = clamped_ ? std::clamp(whole, 0.0f, 15.0f) : whole;
        codes.at(r, c) = static_cast<uint16_t>(value.at(r, c) + (clamped_ ? 0.0f : 32768.0f));
      }
    }
  }
  QuantizedMatrix finish(std::vector<uint16_t> codes) && override {
    q_.codes = std::move(codes);
    return std::move(q_);
  }

 private:
  bool clamped_;
  QuantizedMatrix q_;
};

std::vector<uint16_t> codes_of(std::string_view rounding, Matrix<const float> weight,
                               const SecondMoment& moment, double damping, FittedGrid& grid,
                               const std::map<std::string, std::string>& settings = {}) {
  ThreadPool pool(1, false);
  const ConditionedMoment conditioned(moment, damping, "in");
  const Rounding& entry = find_rounding(rounding);
  const RoundingInput input = {.weight = weight,
                               .moment = &conditioned,
                               .params = complete_params(entry.params, {}, settings)};
  return entry.run(input, grid, {.pool = pool}).codes;
}

/// tr(E H E^T), the obvious way.
double loss_of(Matrix<const double> error, const SecondMoment& moment) {
  double sum = 0;
  for (int64_t r = 0; r < error.rows; ++r) {
    for (int64_t i = 0; i < error.cols; ++i) {
      for (int64_t j = 0; j < error.cols; ++j) {
        sum += error.at(r, i) * moment.h[static_cast<size_t>(i * error.cols + j)] * error.at(r, j);
      }
    }
  }
  return sum;
}

/// Moment and weights of the counterexample (arXiv:2307.13304, supplement C.3).
struct Counterexample {
  SecondMoment moment;
  std::vector<float> weight;  // [16, n]
};

Counterexample counterexample(int64_t n) {
  const double c = 0.01;
  Counterexample example;
  example.moment = {.cols = n, .tokens = 1, .h = {}, .mean_magnitude = {}};
  example.moment.h.assign(static_cast<size_t>(n * n), 1.0);
  const auto h = [&](int64_t i, int64_t j) -> double& {
    return example.moment.h[static_cast<size_t>(i * n + j)];
  };
  for (int64_t i = 0; i < n; ++i) h(i, i) = 2;
  h(n - 1, n - 1) = 1;
  for (int64_t j = 1; j < n - 1; ++j) {
    h(0, j) += 2 * c;
    h(j, 0) += 2 * c;
  }
  h(0, n - 1) += c;
  h(n - 1, 0) += c;
  h(0, 0) += 4 * c + static_cast<double>(n) * c * c;
  example.weight.resize(static_cast<size_t>(16 * n));
  for (size_t i = 0; i < example.weight.size(); ++i) {
    example.weight[i] = static_cast<float>(0.499 + 0.002 * static_cast<double>(i % 2));
  }
  return example;
}

double counterexample_loss(const Counterexample& example, std::string_view rounding, bool clamped) {
  const int64_t n = example.moment.cols;
  IntegerGrid grid(16, n, clamped);
  const std::vector<uint16_t> codes =
      codes_of(rounding, {example.weight.data(), 16, n}, example.moment, 0, grid);
  std::vector<double> error(codes.size());
  for (size_t i = 0; i < error.size(); ++i) {
    error[i] = codes[i] - (clamped ? 0.0 : 32768.0) - static_cast<double>(example.weight[i]);
  }
  return loss_of({error.data(), 16, n}, example.moment);
}

TEST(Ldlq, HasTheLossesOfTheClampingCounterexample) {
  struct Expected {
    int64_t n;
    double clamped, free, nearest;
  };
  for (const Expected& e :
       {Expected{64, 14642.35, 247.14, 251.10}, Expected{128, 61992.16, 498.06, 506.10},
        Expected{256, 254995.77, 999.89, 1016.11}}) {
    const Counterexample example = counterexample(e.n);
    EXPECT_NEAR(counterexample_loss(example, "ldlq", true), e.clamped, 0.006) << e.n;
    EXPECT_NEAR(counterexample_loss(example, "ldlq", false), e.free, 0.006) << e.n;
    EXPECT_NEAR(counterexample_loss(example, "nearest", true), e.nearest, 0.006) << e.n;
  }
}

}  // namespace
}  // namespace twofold

// The laws of methods, over the table: the loss is not above nearest rounding on the same grid, a
// diagonal second moment gives nearest (without a transform and without exploring), and codes do
// not depend on threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "quant/method.h"
#include "support/matrices.h"

namespace twofold {
namespace {

constexpr int64_t kRows = 150, kCols = 96;

/// H of correlated inputs: a few strong directions and noise. @return [cols, cols].
SecondMoment correlated_moment(bool diagonal) {
  const int64_t factors = 12;
  const std::vector<float> f = testing::normal_numbers(factors * kCols, 1.0, "factors");
  SecondMoment moment{.cols = kCols, .tokens = 1000, .h = {}, .mean_magnitude = {}};
  moment.h.assign(kCols * kCols, 0.0);
  for (int64_t i = 0; i < kCols; ++i) {
    for (int64_t j = 0; j < kCols; ++j) {
      double sum = i == j ? 0.1 : 0;
      for (int64_t k = 0; k < factors && (!diagonal || i == j); ++k) {
        sum += static_cast<double>(f[static_cast<size_t>(k * kCols + i)]) *
               f[static_cast<size_t>(k * kCols + j)] / static_cast<double>(k + 1);
      }
      moment.h[static_cast<size_t>(i * kCols + j)] = sum;
    }
  }
  return moment;
}

struct Case {
  std::string method;
  int bits;
  int64_t group;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Method& method : all_methods()) {
    const Grid& grid = find_grid(method.grid);
    for (int bits = grid.min_bits; bits <= grid.max_bits; ++bits) {
      all.push_back({std::string(method.name), bits, 0});
      // One scale for the matrix is the method: groups are refused (grids_test.cpp).
      const auto sharing = method.defaults.find("scale-per");
      const bool grouped = sharing == method.defaults.end() || sharing->second != "tensor";
      if (grid.groups && grouped) all.push_back({std::string(method.name), bits, 32});
    }
  }
  return all;
}

class MethodLaw : public ::testing::TestWithParam<Case> {
 protected:
  static Solution run(const MethodRequest& request, const SecondMoment* moment, int threads = 1) {
    static const std::vector<float> kWeight =
        testing::normal_numbers(kRows * kCols, 0.02, "weight");
    ThreadPool pool(threads, false);
    return solve(choose_method(request),
                 {.weight = {kWeight.data(), kRows, kCols},
                  .moment = moment,
                  .seed = 1,
                  .input_name = "in",
                  .matrix_name = "w"},
                 {.pool = pool, .isa = select_isa()});
  }
  static MethodRequest request() {
    return {.method = GetParam().method, .bits = GetParam().bits, .group = GetParam().group};
  }
  /// In the model's basis and with scales of its own for each row, where a law is about rows.
  static MethodRequest rowwise() {
    MethodRequest r = request();
    r.transform = "none";
    const Params params = choose_method(r).params;
    if (params.has("scale-per")) r.params["scale-per"] = "row";
    return r;
  }
  /// Without candidates inside the loop and without parameters that move after it.
  static MethodRequest unexplored() {
    MethodRequest r = request();
    const Params params = choose_method(r).params;
    if (params.has("explore") && params.get_choice("explore") == "loop") {
      r.params["explore"] = "weights";
    }
    if (params.has("refits") && params.get_int("refits") > 0) r.params["refits"] = "0";
    return r;
  }
  static bool needs_moment() { return twofold::needs_moment(choose_method(request())); }
  /// The moment if the method needs one.
  static const SecondMoment* needed_moment() {
    static const SecondMoment kMoment = correlated_moment(false);
    return needs_moment() ? &kMoment : nullptr;
  }
  static MethodRequest nearest() {
    MethodRequest r = request();
    r.rounding = "nearest";
    return r;
  }
};
INSTANTIATE_TEST_SUITE_P(Table, MethodLaw, ::testing::ValuesIn(cases()), [](const auto& param) {
  std::string name = param.param.method;
  std::replace(name.begin(), name.end(), '-', '_');
  return fmt::format("{}_b{}_g{}", name, param.param.bits, param.param.group);
});

TEST_P(MethodLaw, LossIsNotAboveNearestOnTheSameGrid) {
  const SecondMoment moment = correlated_moment(false);
  const double loss = run(request(), &moment).proxy_loss;
  EXPECT_LE(loss, run(nearest(), &moment).proxy_loss * (1 + 1e-9));
  EXPECT_GT(loss, 0);
}

TEST_P(MethodLaw, DiagonalMomentGivesNearest) {
  if (find_method(GetParam().method).transform != "none") return;  // it mixes the columns
  const SecondMoment moment = correlated_moment(true);
  MethodRequest given = unexplored(), rounded = nearest();
  given.transform = rounded.transform = "none";  // another basis has another diagonal
  EXPECT_EQ(run(given, &moment).q.codes, run(rounded, &moment).q.codes);
}

TEST_P(MethodLaw, CodesDoNotDependOnThreads) {
  const SecondMoment moment = correlated_moment(false);
  const Solution one = run(request(), &moment, 1);
  for (int threads : {2, 3}) {
    const Solution many = run(request(), &moment, threads);
    EXPECT_TRUE(one.q == many.q) << threads;
    EXPECT_EQ(one.proxy_loss, many.proxy_loss) << threads;
  }
}

TEST_P(MethodLaw, SchemeIsKnownBeforeRounding) {
  const MethodChoice choice = choose_method(request());
  Scheme scheme = run(request(), needed_moment()).q.scheme;
  const Scheme before = scheme_for(choice, kRows, kCols);
  scheme.level_exponent = before.level_exponent;
  EXPECT_TRUE(scheme == before);
}

TEST_P(MethodLaw, WithoutAMomentTheLossIsTheRelativeSquaredError) {
  if (needs_moment()) {
    EXPECT_THROW(run(request(), nullptr), Error);
    return;
  }
  const Solution s = run(request(), nullptr);
  const std::vector<float> weight = testing::normal_numbers(kRows * kCols, 0.02, "weight");
  std::vector<float> restored(weight.size());
  restore(s.q, {restored.data(), kRows, kCols});
  double error = 0, energy = 0;
  for (size_t i = 0; i < weight.size(); ++i) {
    error += std::pow(static_cast<double>(restored[i]) - weight[i], 2);
    energy += std::pow(static_cast<double>(weight[i]), 2);
  }
  EXPECT_NEAR(s.proxy_loss, error / energy, 1e-12);
}

TEST_P(MethodLaw, ZeroRowsStayZeroAndTinyRowsStaySmall) {
  std::vector<float> weight = testing::normal_numbers(4 * kCols, 0.02, "zero rows");
  for (int64_t c = 0; c < kCols; ++c) {
    weight[static_cast<size_t>(kCols + c)] = 0;
    weight[static_cast<size_t>(2 * kCols + c)] *= 1e-7f;  // its scale is no normal binary16
  }
  ThreadPool pool(1, false);
  const Solution s =
      solve(choose_method(rowwise()),
            {.weight = {weight.data(), 4, kCols}, .moment = needed_moment()}, {.pool = pool});
  std::vector<float> restored(weight.size());
  restore(s.q, {restored.data(), 4, kCols});
  for (int64_t c = 0; c < kCols; ++c) {
    EXPECT_EQ(restored[static_cast<size_t>(kCols + c)], 0.0f) << c;
    EXPECT_LE(std::fabs(restored[static_cast<size_t>(2 * kCols + c)]), 0x1p-23f) << c;
  }
}

TEST_P(MethodLaw, RefusesWeightsItCannotHold) {
  ThreadPool pool(1, false);
  for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                    std::numeric_limits<float>::quiet_NaN(), 1e30f}) {
    std::vector<float> weight(3 * kCols, 0.5f);
    weight[2 * kCols + 7] = bad;
    try {
      solve(choose_method(rowwise()),
            {.weight = {weight.data(), 3, kCols}, .moment = needed_moment(), .matrix_name = "w"},
            {.pool = pool});
      FAIL() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
      EXPECT_NE(std::string(error.what()).find("row 2"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace twofold

// Trellis-coded matrices: what the grid says it rounds to is what its matrix means, on any side,
// and what the loop does with it.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "quant/method.h"
#include "support/matrices.h"

namespace twofold {
namespace {

using testing::normal_numbers;

struct Rounded {
  QuantizedMatrix q;
  std::vector<float> value;  // what `round` said
};

Rounded round_weights(Matrix<const float> w, int bits, const char* window,
                      const char* effort = "fast") {
  const Grid& entry = find_grid("trellis");
  auto grid = entry.make(
      {.rows = w.rows,
       .cols = w.cols,
       .bits = bits,
       .params = complete_params(entry.params, {}, {{"window", window}, {"effort", effort}}),
       .where = "w",
       .isa = select_isa()});
  ThreadPool pool(1, false);
  grid->fit(0, 0, w, {}, pool);
  std::vector<uint16_t> codes(static_cast<size_t>(w.rows * w.cols));
  Rounded result{.q = {}, .value = std::vector<float>(codes.size())};
  grid->round(0, 0, w, {codes.data(), w.rows, w.cols}, {result.value.data(), w.rows, w.cols});
  result.q = std::move(*grid).finish(std::move(codes));
  return result;
}

double squared_error(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * static_cast<double>(a[i] - b[i]);
  return sum;
}

TEST(TrellisGrid, RoundsToWhatItsMatrixMeansOnEverySide) {
  for (const TrellisCode& code : kTrainedTrellisCodes) {
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{16, 16},
                                     {1, 1},
                                     {5, 48},
                                     {48, 7},
                                     {80, 17},
                                     {16, 172},
                                     {21, 176},
                                     {33, 31},
                                     {3, 1536},
                                     {1536, 2}}) {
      const std::vector<float> w = normal_numbers(rows * cols, 0.02, "trellis weights");
      const Rounded rounded =
          round_weights({w.data(), rows, cols}, code.bits, code.window == 12 ? "12" : "6");
      EXPECT_NO_THROW(validate(rounded.q));
      std::vector<float> means(w.size());
      dequantize(rounded.q, {means.data(), rows, cols});
      EXPECT_EQ(means, rounded.value) << code.bits << " bits " << rows << " x " << cols;
      double energy = 0;
      for (float x : w) energy += static_cast<double>(x) * x;
      if (cols < kTrellisTile) continue;  // most of a tile is padding, which leaves no choice
      EXPECT_LT(squared_error(w, means), energy) << code.bits << " bits " << rows << " x " << cols;
    }
  }
}

TEST(TrellisGrid, StoresTheRootMeanSquareOfARowInItsScale) {
  const int64_t rows = 20, cols = 160;
  const std::vector<float> w = normal_numbers(rows * cols, 0.02, "scales");
  for (int bits = 1; bits <= 4; ++bits) {
    const QuantizedMatrix q = round_weights({w.data(), rows, cols}, bits, "12").q;
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < cols; ++c) {
        const double x = w[static_cast<size_t>(r * cols + c)];
        sum += x * x;
      }
      const double rms = std::sqrt(sum / cols);
      const float scale = q.scale[static_cast<size_t>(r)];
      EXPECT_GT(scale, 0.7 * rms);
      EXPECT_LT(scale, 1.42 * rms);
      EXPECT_NEAR(std::ldexp(scale, q.scheme.level_exponent),
                  rms * trained_trellis_code(bits, 12).unit, rms * 0x1p-11);
    }
  }
}

TEST(TrellisGrid, SurvivesDegenerateRows) {
  const int64_t rows = 32, cols = 40;
  std::vector<float> w(static_cast<size_t>(rows * cols));
  w[3] = 30000.0f;  // row 0: one huge value; row 1: zeros; row 2: denormals; row 3: a tiny one
  for (int64_t c = 0; c < cols; ++c) {
    w[static_cast<size_t>(2 * cols + c)] = std::numeric_limits<float>::denorm_min();
  }
  w[static_cast<size_t>(3 * cols)] = 1e-9f;
  for (int bits = 1; bits <= 4; ++bits) {
    const Rounded rounded = round_weights({w.data(), rows, cols}, bits, "12", "normal");
    EXPECT_NO_THROW(validate(rounded.q));
    for (float value : rounded.value) EXPECT_TRUE(std::isfinite(value));
    for (int64_t c = 0; c < cols; ++c) {
      EXPECT_EQ(rounded.value[static_cast<size_t>(cols + c)], 0.0f);
    }
  }
}

TEST(TrellisGrid, LosesLessWithMoreEffort) {
  const int64_t rows = 64, cols = 64;
  const std::vector<float> w = normal_numbers(rows * cols, 1, "effort");
  for (int bits = 1; bits <= 4; ++bits) {
    const auto error = [&](const char* effort) {
      return squared_error(w, round_weights({w.data(), rows, cols}, bits, "12", effort).value);
    };
    EXPECT_LT(error("normal"), error("fast")) << bits;
  }
}

/// Inputs of which neighbours are alike.
SecondMoment correlated_moment(int64_t cols) {
  SecondMoment moment{.cols = cols, .tokens = 1, .h = {}, .mean_magnitude = {}};
  for (int64_t i = 0; i < cols; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      moment.h.push_back(std::pow(0.9, static_cast<double>(std::abs(i - j))));
    }
  }
  return moment;
}

TEST(TrellisMethods, LeaveNarrowMatricesToAnotherMethod) {
  for (const char* name : {"trellis", "trellis-quip"}) {
    const MethodRequest request{.method = name, .bits = 1};
    EXPECT_EQ(choose_method(request, 16, 16), choose_method(request));
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{15, 64}, {64, 15}}) {
      const MethodChoice choice = choose_method(request, rows, cols);
      EXPECT_EQ(choice.grid, "levels");
      EXPECT_EQ(choice.bits, 2);
      EXPECT_EQ(choice.note, fmt::format("hadamard-levels with 2 bits instead of {} with 1: a side "
                                         "of [{}, {}] is below 16",
                                         name, rows, cols));
      EXPECT_EQ(choice.transform, choose_method(request).transform);
      const std::vector<float> w = normal_numbers(rows * cols, 0.02, "narrow");
      const SecondMoment moment = correlated_moment(cols);
      ThreadPool pool(1, false);
      const Solution solution =
          solve(choice, {.weight = {w.data(), rows, cols}, .moment = &moment}, {.pool = pool});
      EXPECT_EQ(solution.notes.front(), choice.note);
    }
  }
}

TEST(TrellisMethods, PassOnWhatTheOtherMethodReads) {
  MethodRequest request{.method = "trellis", .rounding = "nearest", .params = {{"window", "6"}}};
  EXPECT_EQ(choose_method(request, 8, 64).rounding, "nearest");
  request.rounding = "";
  request.params = {{"window", "6"}, {"explore", "off"}, {"damping", "0.5"}, {"effort", "max"}};
  const MethodChoice choice = choose_method(request, 8, 64);
  EXPECT_EQ(choice.params.get_choice("explore"), "off");
  EXPECT_EQ(choice.params.get_float("damping"), 0.5);
  EXPECT_FALSE(choice.params.has("window"));
}

TEST(TrellisMethods, RefusePassesAfterALoopThatIsNone) {
  const MethodRequest request{
      .method = "trellis", .rounding = "nearest", .params = {{"effort", "max"}}};
  try {
    choose_method(request);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "--effort: 'max' has no effect: rounding nearest has no loop over columns");
  }
}

class TrellisLoop : public ::testing::Test {
 protected:
  static constexpr int64_t kRows = 72, kCols = 92;

  Solution solve_with(std::map<std::string, std::string> params, int threads,
                      const char* rounding = "ldlq") {
    params["damping"] = "0.001";
    if (std::string_view(rounding) == "nearest") params.clear();
    MethodRequest request{
        .method = "trellis", .bits = 2, .rounding = rounding, .params = std::move(params)};
    ThreadPool pool(threads, false);
    return solve(choose_method(request), {.weight = {w_.data(), kRows, kCols}, .moment = &moment_},
                 {.pool = pool, .isa = select_isa()});
  }

  const std::vector<float> w_ = normal_numbers(kRows * kCols, 0.02, "loop weights");
  const SecondMoment moment_ = correlated_moment(kCols);
};

TEST_F(TrellisLoop, LosesLessThanNearestAndLessStillInTheLoop) {
  const double nearest = solve_with({}, 1, "nearest").proxy_loss;
  const double weights = solve_with({{"explore", "weights"}}, 1).proxy_loss;
  const double loop = solve_with({{"explore", "loop"}}, 1).proxy_loss;
  EXPECT_LT(weights, 0.9 * nearest);
  EXPECT_LT(loop, weights);
}

TEST_F(TrellisLoop, LosesLessWithPassesAfterIt) {
  for (const char* explore : {"weights", "loop"}) {
    const double normal = solve_with({{"explore", explore}}, 1).proxy_loss;
    const double most = solve_with({{"explore", explore}, {"effort", "max"}}, 1).proxy_loss;
    EXPECT_LT(most, normal) << explore;
  }
}

TEST_F(TrellisLoop, DoesNotDependOnThreads) {
  const Solution one = solve_with({}, 1), three = solve_with({}, 3);
  EXPECT_EQ(one.q, three.q);
  EXPECT_NO_THROW(validate(one.q));
}

TEST_F(TrellisLoop, GivesRowsOfATileTheSameFactor) {
  const Solution fitted = solve_with({{"explore", "weights"}, {"refits", "0"}}, 1);
  const Solution loop = solve_with({{"explore", "loop"}, {"refits", "0"}}, 1);
  int changed = 0;
  for (size_t r = 0; r < kRows; ++r) {
    const float factor = loop.q.scale[r] / fitted.q.scale[r];
    const float first = loop.q.scale[r / 16 * 16] / fitted.q.scale[r / 16 * 16];
    EXPECT_NEAR(factor, first, 0.002) << r;
    if (std::fabs(factor - 1) > 0.01) ++changed;
  }
  EXPECT_GT(changed, 0);
}

}  // namespace
}  // namespace twofold

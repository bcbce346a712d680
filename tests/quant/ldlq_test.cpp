// LDLQ against the textbook form of GPTQ, the figures of the QuIP paper's counterexample, and what
// holds for any input.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "base/error.h"
#include "quant/method.h"
#include "quant/proxy_loss.h"
#include "support/matrices.h"
#include "support/parity_grid.h"
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
  void fit(int64_t, int64_t, Matrix<const float>, std::span<const float>, ThreadPool&) override {}
  std::span<const float> explore_factors() const override {
    static constexpr float kOne[] = {1.0f};
    return kOne;
  }
  int64_t rows_sharing() const override { return 1; }
  std::unique_ptr<FittedGrid> rescaled(float) const override {
    return std::make_unique<IntegerGrid>(*this);
  }
  void take_row(int64_t, const FittedGrid&) override {}
  void values(int64_t, int64_t, Matrix<const uint16_t> codes, Matrix<float> value) const override {
    for (int64_t r = 0; r < codes.rows; ++r) {
      for (int64_t c = 0; c < codes.cols; ++c) {
        value.at(r, c) = static_cast<float>(codes.at(r, c)) - (clamped_ ? 0.0f : 32768.0f);
      }
    }
  }
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

/// H = X^T X / tokens of correlated inputs; rank `rank` if that is less than `cols`.
SecondMoment random_moment(int64_t cols, int64_t rank, std::string_view key) {
  const std::vector<float> x = testing::normal_numbers(rank * cols, 1.0, key);
  SecondMoment moment{.cols = cols, .tokens = rank, .h = {}, .mean_magnitude = {}};
  moment.h.assign(static_cast<size_t>(cols * cols), 0.0);
  for (int64_t t = 0; t < rank; ++t) {
    const double strength = 1.0 / static_cast<double>(t + 1);
    for (int64_t i = 0; i < cols; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        moment.h[static_cast<size_t>(i * cols + j)] +=
            strength * x[static_cast<size_t>(t * cols + i)] * x[static_cast<size_t>(t * cols + j)];
      }
    }
  }
  return moment;
}

/// Lower Cholesky factor, row by row. @param a [n, n].
std::vector<double> lower_factor(const std::vector<double>& a, size_t n) {
  std::vector<double> l(n * n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double sum = a[i * n + j];
      for (size_t k = 0; k < j; ++k) sum -= l[i * n + k] * l[j * n + k];
      l[i * n + j] = i == j ? std::sqrt(sum) : sum / l[j * n + j];
    }
  }
  return l;
}

/// H^-1 from its Cholesky factor, column by column.
std::vector<double> inverse_of(const std::vector<double>& h, size_t n) {
  const std::vector<double> l = lower_factor(h, n);
  std::vector<double> inverse(n * n);
  for (size_t c = 0; c < n; ++c) {
    std::vector<double> x(n);
    for (size_t i = 0; i < n; ++i) {
      x[i] = i == c ? 1 : 0;
      for (size_t k = 0; k < i; ++k) x[i] -= l[i * n + k] * x[k];
      x[i] /= l[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
      for (size_t k = i + 1; k < n; ++k) x[i] -= l[k * n + i] * x[k];
      x[i] /= l[i * n + i];
    }
    for (size_t i = 0; i < n; ++i) inverse[i * n + c] = x[i];
  }
  return inverse;
}

TEST(Ldlq, EqualsTheTextbookFormOfGptq) {
  for (const int64_t n : {1, 7, 64, 131}) {
    const int64_t rows = 70;
    const size_t side = static_cast<size_t>(n);
    std::vector<float> weight = testing::normal_numbers(rows * n, 3.0, "textbook");
    for (float& w : weight) w += 7.5f;
    const SecondMoment moment = random_moment(n, n + 5, "textbook inputs");
    std::vector<double> h = moment.h;
    double trace = 0;
    for (size_t j = 0; j < side; ++j) trace += h[j * side + j];
    for (size_t j = 0; j < side; ++j) h[j * side + j] += 0.01 * trace / static_cast<double>(n);
    // H^-1 = L L^T; its upper factor T = L^T.
    const std::vector<double> l = lower_factor(inverse_of(h, side), side);
    std::vector<uint16_t> expected(weight.size());
    for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
      std::vector<double> w(weight.begin() + static_cast<int64_t>(r * side),
                            weight.begin() + static_cast<int64_t>((r + 1) * side));
      for (size_t k = 0; k < side; ++k) {
        const double q =
            std::clamp(std::nearbyint(static_cast<double>(static_cast<float>(w[k]))), 0.0, 15.0);
        expected[r * side + k] = static_cast<uint16_t>(q);
        const double error = (w[k] - q) / l[k * side + k];
        for (size_t j = k; j < side; ++j) w[j] -= error * l[j * side + k];
      }
    }
    IntegerGrid grid(rows, n, true);
    EXPECT_EQ(codes_of("ldlq", {weight.data(), rows, n}, moment, 0.01, grid), expected) << n;
  }
}

/// Weights of integers 0 to 15 and the loss of what `settings` make of them.
double integer_loss(std::string_view rounding, const SecondMoment& moment,
                    const std::map<std::string, std::string>& settings) {
  const int64_t rows = 20, n = moment.cols;
  std::vector<float> weight = testing::normal_numbers(rows * n, 4.0, "passes");
  for (float& w : weight) w += 7.5f;
  IntegerGrid grid(rows, n, true);
  const std::vector<uint16_t> codes =
      codes_of(rounding, {weight.data(), rows, n}, moment, 0.01, grid, settings);
  std::vector<double> error(codes.size());
  for (size_t i = 0; i < error.size(); ++i) error[i] = codes[i] - static_cast<double>(weight[i]);
  const ConditionedMoment conditioned(moment, 0.01, "in");
  SecondMoment damped = moment;
  damped.h.assign(conditioned.h().data, conditioned.h().data + n * n);
  return loss_of({error.data(), rows, n}, damped);
}

TEST(GreedyPasses, NeverRaiseTheLoss) {
  const SecondMoment moment = random_moment(150, 40, "passes inputs");
  for (const char* rounding : {"ldlq", "coordinate"}) {
    for (const char* order : {"natural", "diagonal", "reversed"}) {
      double last = integer_loss(rounding, moment, {{"order", order}, {"passes", "0"}});
      const double first = last;
      for (int passes = 1; passes <= 8; ++passes) {
        const double loss =
            integer_loss(rounding, moment, {{"order", order}, {"passes", std::to_string(passes)}});
        EXPECT_LE(loss, last * (1 + 1e-12)) << rounding << order << passes;
        last = loss;
      }
      EXPECT_LT(last, first) << rounding << order;
    }
  }
}

TEST(Ldlq, SingularMomentsNeedMoreDampingAndSaySo) {
  const int64_t rows = 9, n = 37;
  const std::vector<float> weight = testing::normal_numbers(rows * n, 0.02, "singular");
  SecondMoment moment = random_moment(n, 2, "two inputs");
  for (int64_t j = 0; j < n; ++j) {  // an input that was always 0
    moment.h[static_cast<size_t>(5 * n + j)] = moment.h[static_cast<size_t>(j * n + 5)] = 0;
  }
  ThreadPool pool(1, false);
  const auto solved = [&](const char* damping) {
    return solve(choose_method({.method = "gptq", .params = {{"damping", damping}}}),
                 {.weight = {weight.data(), rows, n}, .moment = &moment, .matrix_name = "w"},
                 {.pool = pool});
  };
  EXPECT_TRUE(solved("0.01").notes.empty());
  const Solution undamped = solved("0");
  ASSERT_EQ(undamped.notes.size(), 1u);
  EXPECT_NE(undamped.notes[0].find("singular at damping 0"), std::string::npos);
  EXPECT_TRUE(std::isfinite(undamped.proxy_loss));
}

TEST(Ldlq, TakesAnyShape) {
  for (const int64_t rows : {1, 67}) {
    for (const int64_t cols : {1, 13, 33, 127, 200}) {
      const std::vector<float> weight = testing::normal_numbers(rows * cols, 0.02, "shape");
      const SecondMoment moment = random_moment(cols, cols + 1, "shape inputs");
      for (const int64_t group : {0, 32}) {  // the last group is shorter
        for (const char* order : {"natural", "diagonal", "reversed"}) {
          std::vector<uint16_t> first;
          for (const int threads : {1, 2, 3}) {
            ThreadPool pool(threads, false);
            const Solution s =
                solve(choose_method({.method = "gptq",
                                     .bits = 3,
                                     .group = group,
                                     .params = {{"order", order}, {"passes", "1"}}}),
                      {.weight = {weight.data(), rows, cols}, .moment = &moment}, {.pool = pool});
            validate(s.q);
            if (threads == 1) first = s.q.codes;
            EXPECT_EQ(s.q.codes, first) << rows << " x " << cols << " " << order << group;
          }
        }
      }
    }
  }
}

/// Codes of a vector grid, and the loss of their values.
std::pair<std::vector<uint16_t>, double> vector_codes(std::string_view rounding,
                                                      testing::ParityGrid grid,
                                                      const SecondMoment& moment,
                                                      const char* order = "natural",
                                                      const char* passes = nullptr) {
  const int64_t rows = 70, cols = moment.cols;
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 0.5, "blocks");
  const bool ordered = rounding == "ldlq";
  std::map<std::string, std::string> settings;
  if (ordered) settings["order"] = order;
  if (passes != nullptr) settings["passes"] = passes;
  std::vector<uint16_t> codes =
      codes_of(rounding, {weight.data(), rows, cols}, moment, 0.01, grid, settings);
  const QuantizedMatrix q = std::move(grid).finish(codes);
  std::vector<float> value(codes.size());
  dequantize(q, {value.data(), rows, cols});
  std::vector<double> error(codes.size());
  for (size_t i = 0; i < error.size(); ++i) error[i] = static_cast<double>(value[i]) - weight[i];
  return {std::move(codes), loss_of({error.data(), rows, cols}, moment)};
}

TEST(BlockLdlq, EqualsColumnsIfBlocksAreIndependentInputs) {
  // H with nothing between the columns of a block: its factor has diagonal blocks, so feedback
  // inside a block, which only single columns have, is 0.
  const int64_t rows = 70;
  for (const auto& [width, cols] : {std::pair<int64_t, int64_t>{8, 64},
                                    {8, 61},
                                    {16, 64},
                                    {16, 301},
                                    {16, 128},
                                    {16, 135},
                                    {16, 7}}) {
    const int64_t blocks = (cols + width - 1) / width;
    SecondMoment moment = random_moment(blocks, 40, "between blocks");
    SecondMoment spread{.cols = cols, .tokens = 1, .h = {}, .mean_magnitude = {}};
    spread.h.assign(static_cast<size_t>(cols * cols), 0.0);
    for (int64_t i = 0; i < cols; ++i) {
      for (int64_t j = i % width; j < cols; j += width) {
        spread.h[static_cast<size_t>(i * cols + j)] =
            moment.h[static_cast<size_t>(i / width * blocks + j / width)];
      }
    }
    for (const char* order : {"natural", "reversed"}) {
      const auto by_block =
          vector_codes("ldlq", testing::ParityGrid(rows, cols, 0, width, false), spread, order);
      const auto by_column =
          vector_codes("ldlq", testing::ParityGrid(rows, cols, 0, 1, false), spread, order);
      EXPECT_EQ(by_block.first, by_column.first) << width << " of " << cols << order;
    }
  }
}

TEST(BlockLdlq, LosesLessThanNearest) {
  const SecondMoment moment = random_moment(192, 300, "vector inputs");
  for (const int64_t width : {8, 16}) {
    for (const int64_t group : {0, 64}) {
      const testing::ParityGrid grid(70, 192, group, width);
      const double nearest = vector_codes("nearest", grid, moment).second;
      for (const char* order : {"natural", "reversed"}) {
        EXPECT_LT(vector_codes("ldlq", grid, moment, order).second, 0.8 * nearest)
            << width << group << order;
      }
    }
  }
}

TEST(BlockLdlq, LosesLessWithEachPass) {
  const SecondMoment moment = random_moment(147, 300, "block passes");
  for (const int64_t width : {8, 16}) {
    const testing::ParityGrid grid(70, 147, 0, width);
    double last = vector_codes("ldlq", grid, moment).second;
    for (const char* passes : {"1", "4"}) {
      const double loss = vector_codes("ldlq", grid, moment, "natural", passes).second;
      EXPECT_LT(loss, last) << width;
      last = loss;
    }
    EXPECT_LT(vector_codes("coordinate", grid, moment).second,
              0.9 * vector_codes("nearest", grid, moment).second);
  }
}

TEST(BlockLdlq, RefusesWhatTakesColumnsApart) {
  const SecondMoment moment = random_moment(16, 20, "refused inputs");
  const std::vector<float> weight(16, 0.5f);
  const auto refusal = [&](std::string_view rounding, const char* name, const char* value) {
    testing::ParityGrid grid(1, 16, 0);
    try {
      codes_of(rounding, {weight.data(), 1, 16}, moment, 0.01, grid, {{name, value}});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(refusal("ldlq", "order", "diagonal").find("--order diagonal"), std::string::npos);
  EXPECT_NE(refusal("ldlq", "preclamp", "on").find("--preclamp on"), std::string::npos);
}

TEST(Explore, IsNeverWorseThanTheFittedGrid) {
  const int64_t rows = 40, cols = 160;
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 0.02, "explore");
  const SecondMoment moment = random_moment(cols, 400, "explore inputs");
  ThreadPool pool(2, false);
  for (const char* method : {"gptq", "gptq-pot"}) {
    for (const std::map<std::string, std::string>& settings : {std::map<std::string, std::string>{},
                                                               {{"order", "diagonal"}},
                                                               {{"passes", "3"}},
                                                               {{"scale-per", "tensor"}}}) {
      for (const int64_t group : {0, 32}) {
        if (group > 0 && settings.contains("scale-per")) continue;
        const auto loss = [&](const char* explore) {
          MethodRequest request{.method = method, .bits = 3, .group = group, .params = settings};
          request.params["explore"] = explore;
          request.params["damping"] = "0";  // what is judged is what is minimized
          return solve(choose_method(request),
                       {.weight = {weight.data(), rows, cols}, .moment = &moment},
                       {.pool = pool, .isa = select_isa()});
        };
        const Solution with = loss("loop"), without = loss("weights");
        EXPECT_LE(with.proxy_loss, without.proxy_loss * (1 + 1e-6)) << method << group;
        EXPECT_LT(without.explore_seconds, 1e-9);
        EXPECT_GT(with.explore_seconds, 0);
      }
    }
  }
}

/// What exploring minimizes is the loss with the damped moment: by that it can only win, as long as
/// no refits follow, which may gain more from codes that had lost.
TEST(Explore, NeverRaisesTheDampedLoss) {
  const int64_t rows = 40, cols = 96;
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 0.02, "damped");
  const SecondMoment moment = random_moment(cols, 200, "damped inputs");
  ThreadPool pool(1, false);
  for (const Method& method : all_methods()) {
    const auto defaults = method.defaults.find("explore");
    if (defaults == method.defaults.end() || defaults->second != "loop") continue;
    if (method.transform != "none") continue;  // damped in another basis
    for (const char* damping : {"0.01", "0.1"}) {
      const ConditionedMoment damped(moment, std::stod(damping), "in");
      const Matrix<const double> h = std::as_const(damped).h();
      const auto loss = [&](const char* explore) {
        std::map<std::string, std::string> params = {{"damping", damping}, {"explore", explore}};
        if (method.defaults.contains("refits")) params["refits"] = "0";
        const Solution s =
            solve(choose_method({.method = std::string(method.name), .bits = 3, .params = params}),
                  {.weight = {weight.data(), rows, cols}, .moment = &moment},
                  {.pool = pool, .isa = select_isa()});
        std::vector<float> restored(weight.size());
        restore(s.q, {restored.data(), rows, cols});
        std::vector<double> losses(static_cast<size_t>(rows));
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t i = 0; i < cols; ++i) {
            for (int64_t j = 0; j < cols; ++j) {
              const size_t a = static_cast<size_t>(r * cols + i);
              const size_t b = static_cast<size_t>(r * cols + j);
              losses[static_cast<size_t>(r)] += (static_cast<double>(restored[a]) - weight[a]) *
                                                h.at(i, j) *
                                                (static_cast<double>(restored[b]) - weight[b]);
            }
          }
        }
        return losses;
      };
      const std::vector<double> with = loss("loop"), without = loss("weights");
      double gained = 0;
      for (size_t r = 0; r < with.size(); ++r) {
        EXPECT_LE(with[r], without[r]) << method.name << " row " << r;
        gained += without[r] - with[r];
      }
      EXPECT_GT(gained, 0) << method.name;
    }
  }
}

TEST(Preclamp, GivesTheCodesOfClampedWeights) {
  const int64_t rows = 20, n = 150;
  std::vector<float> weight = testing::normal_numbers(rows * n, 6, "preclamp");
  for (float& w : weight) w += 7.5f;
  std::vector<float> clamped = weight;
  for (float& w : clamped) w = std::clamp(w, 0.0f, 15.0f);
  const SecondMoment moment = random_moment(n, 400, "preclamp inputs");
  const auto codes = [&](const std::vector<float>& w, const char* preclamp) {
    IntegerGrid grid(rows, n, true);
    return codes_of("ldlq", {w.data(), rows, n}, moment, 0.01, grid,
                    {{"preclamp", preclamp}, {"explore", "weights"}});
  };
  EXPECT_EQ(codes(weight, "on"), codes(clamped, "off"));
  EXPECT_NE(codes(weight, "on"), codes(weight, "off"));
}

/// The callback that AWQ searches with, against `solve` on scaled weights and inputs.
TEST(NearestLoss, IsTheLossOfScaledWeightsOnInputsScaledBack) {
  const int64_t cols = 70;
  const SecondMoment moment = random_moment(cols, 300, "trial inputs");
  std::vector<float> scale = testing::normal_numbers(cols, 0.5, "trial scale");
  for (float& s : scale) s = std::exp2(std::nearbyint(s));  // exact products
  SecondMoment scaled_moment = moment;
  for (int64_t i = 0; i < cols; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      scaled_moment.h[static_cast<size_t>(i * cols + j)] /=
          static_cast<double>(scale[static_cast<size_t>(i)]) * scale[static_cast<size_t>(j)];
    }
  }
  ThreadPool pool(2, false);
  const MethodChoice choice = choose_method({.method = "rtn", .bits = 3, .group = 32});
  std::vector<std::vector<float>> weights;
  std::vector<Matrix<const float>> views;
  for (const int64_t rows : {5, 140}) {
    weights.push_back(testing::normal_numbers(rows * cols, 0.02, "trial"));
    views.push_back({weights.back().data(), rows, cols});
  }
  double expected = 0;
  for (const Matrix<const float>& weight : views) {
    std::vector<float> scaled(static_cast<size_t>(weight.rows * cols));
    std::vector<double> exact(scaled.size());
    for (int64_t r = 0; r < weight.rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const size_t i = static_cast<size_t>(r * cols + c);
        exact[i] = scaled[i] = weight.at(r, c) * scale[static_cast<size_t>(c)];
      }
    }
    const Solution s =
        solve(choice, {.weight = {scaled.data(), weight.rows, cols}, .moment = &scaled_moment},
              {.pool = pool});
    expected += s.proxy_loss * loss_of({exact.data(), weight.rows, cols}, scaled_moment);
  }
  const double found =
      nearest_loss(choice, views, {moment.h.data(), cols, cols}, scale, {.pool = pool});
  EXPECT_NEAR(found, expected, 1e-6 * expected);
}

}  // namespace
}  // namespace twofold

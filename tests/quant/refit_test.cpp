// The laws of refits, over every grid that has one: after each round the loss of no row is above
// what it was, computed naively; and each refit beside its formula.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "quant/dequantize_rows.h"
#include "quant/method.h"
#include "support/matrices.h"

namespace twofold {
namespace {

// Two chunks of rows; the last tile of a trellis and the last group are narrower.
constexpr int64_t kRows = 70, kCols = 88;

/// E[x x^T] of inputs of unlike strength whose mean is not 0. @return [cols, cols].
SecondMoment moment_of(int64_t cols) {
  const int64_t tokens = 3 * cols;
  const std::vector<float> x = testing::normal_numbers(tokens * cols, 1.0, "inputs");
  SecondMoment m{.cols = cols, .tokens = tokens, .h = {}, .mean_magnitude = {}};
  m.h.assign(static_cast<size_t>(cols * cols), 0.0);
  const auto at = [&](int64_t t, int64_t k) {
    const float own = x[static_cast<size_t>(t * cols + k)];
    const float other = x[static_cast<size_t>(t * cols + (k + 1) % cols)];
    return (own + other + 0.5) * (k % 7 == 0 ? 3.0 : 1.0);
  };
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < cols; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        m.h[static_cast<size_t>(i * cols + j)] += at(t, i) * at(t, j) / static_cast<double>(tokens);
      }
    }
  }
  return m;
}

const std::vector<float>& weights() {
  static const std::vector<float> kWeights =
      testing::normal_numbers(kRows * kCols, 0.05, "weights");
  return kWeights;
}

Solution solution_of(const MethodRequest& request, int threads = 1, Isa isa = select_isa()) {
  static const SecondMoment kMoment = moment_of(kCols);
  ThreadPool pool(threads, false);
  return solve(choose_method(request),
               {.weight = {weights().data(), kRows, kCols},
                .moment = &kMoment,
                .seed = 1,
                .input_name = "in",
                .matrix_name = "w"},
               {.pool = pool, .isa = isa});
}

/// e H e^T of each row, H damped as by the settings of the request, by the formula.
std::vector<double> row_losses(const QuantizedMatrix& q, double damping) {
  const SecondMoment moment = moment_of(kCols);
  double trace = 0;
  for (int64_t j = 0; j < kCols; ++j) trace += moment.h[static_cast<size_t>(j * kCols + j)];
  std::vector<float> value(static_cast<size_t>(kRows * kCols));
  dequantize(q, {value.data(), kRows, kCols});
  std::vector<double> losses(static_cast<size_t>(kRows));
  for (int64_t r = 0; r < kRows; ++r) {
    const auto error = [&](int64_t j) {
      const auto i = static_cast<size_t>(r * kCols + j);
      return static_cast<double>(weights()[i]) - value[i];
    };
    for (int64_t i = 0; i < kCols; ++i) {
      for (int64_t j = 0; j < kCols; ++j) {
        const double h =
            moment.h[static_cast<size_t>(i * kCols + j)] + (i == j ? damping * trace / kCols : 0);
        losses[static_cast<size_t>(r)] += error(i) * h * error(j);
      }
    }
  }
  return losses;
}

struct Case {
  std::string name, grid;
  int bits;
  int64_t group;
  std::map<std::string, std::string> params;
};

/// Every grid that refits with every choice of its own settings, whole rows and groups.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Grid& grid : all_grids()) {
    std::vector<std::map<std::string, std::string>> settings = {{}};
    for (const ParamSpec& spec : grid.params) {
      if (spec.kind != ParamKind::kChoice) continue;
      for (const std::string_view choice : spec.choices) {
        if (choice != spec.fallback) {
          settings.push_back({{std::string(spec.name), std::string(choice)}});
        }
      }
    }
    for (const auto& params : settings) {
      for (const int64_t group : {0, 32}) {
        for (const int bits : {2, 4}) {
          std::string name(grid.name);
          for (const auto& [key, value] : params) name += "_" + key + "_" + value;
          name += fmt::format("_b{}_g{}", bits, group);
          std::replace(name.begin(), name.end(), '-', '_');
          const Case c{name, std::string(grid.name), bits, group, params};
          try {
            MethodRequest request{.method = "gptq", .bits = bits, .group = group, .grid = c.grid};
            request.params = params;
            request.params["refits"] = "1";
            choose_method(request);
            all.push_back(c);
          } catch (const Error&) {  // no such combination, or no refit, which says so
          }
        }
      }
    }
  }
  return all;
}

class RefitLaw : public ::testing::TestWithParam<Case> {
 protected:
  static MethodRequest request(int refits, int passes) {
    const Case& c = GetParam();
    MethodRequest request{.method = "gptq", .bits = c.bits, .group = c.group, .grid = c.grid};
    request.params = c.params;
    request.params["explore"] = "weights";
    request.params["refits"] = fmt::format("{}", refits);
    request.params["passes"] = fmt::format("{}", passes);
    return request;
  }
};
INSTANTIATE_TEST_SUITE_P(Grids, RefitLaw, ::testing::ValuesIn(cases()),
                         [](const auto& param) { return param.param.name; });

TEST_P(RefitLaw, NeverAddsToTheLossOfARow) {
  std::vector<double> last = row_losses(solution_of(request(0, 0)).q, 0.01);
  const double first = std::accumulate(last.begin(), last.end(), 0.0);
  for (const int refits : {1, 2}) {
    const QuantizedMatrix q = solution_of(request(refits, 0)).q;
    validate(q);
    const std::vector<double> now = row_losses(q, 0.01);
    for (size_t r = 0; r < now.size(); ++r) {
      EXPECT_LE(now[r], last[r] * (1 + 1e-9)) << "row " << r << ", refits " << refits;
    }
    last = now;
  }
  EXPECT_LT(std::accumulate(last.begin(), last.end(), 0.0), first);
}

TEST_P(RefitLaw, NoRoundWithPassesAddsToTheLossOfRowsThatShareTheirCodes) {
  const int64_t sharing = make_grid(choose_method(request(1, 1)), kRows, kCols)->rows_sharing();
  std::vector<double> last = row_losses(solution_of(request(0, 0)).q, 0.01);
  for (const int refits : {1, 2, 3}) {
    const std::vector<double> now = row_losses(solution_of(request(refits, 1)).q, 0.01);
    for (int64_t r = 0; r < kRows; r += sharing) {
      const int64_t count = std::min(sharing, kRows - r);
      const auto sum = [&](const std::vector<double>& losses) {
        return std::accumulate(losses.begin() + r, losses.begin() + r + count, 0.0);
      };
      EXPECT_LE(sum(now), sum(last) * (1 + 1e-9)) << "row " << r << ", refits " << refits;
    }
    last = now;
  }
}

TEST_P(RefitLaw, WithoutPassesMovesParametersOnly) {
  const QuantizedMatrix loop = solution_of(request(0, 0)).q;
  const QuantizedMatrix refitted = solution_of(request(2, 0)).q;
  EXPECT_EQ(loop.codes, refitted.codes);
  EXPECT_FALSE(loop == refitted);
}

TEST_P(RefitLaw, ResultDoesNotDependOnThreads) {
  const QuantizedMatrix one = solution_of(request(2, 1)).q;
  EXPECT_TRUE(one == solution_of(request(2, 1), 3).q);
}

TEST_P(RefitLaw, ResultDoesNotDependOnInstructionSet) {
  const QuantizedMatrix best = solution_of(request(2, 1)).q;
  EXPECT_TRUE(best == solution_of(request(2, 1), 1, Isa::kScalar).q);
}

/// The numbers in steps of what a code of a trellis or of a uniform grid is worth.
double unit_value(const QuantizedMatrix& q, const std::vector<float>& value, size_t i,
                  int64_t row) {
  return value[i] / static_cast<double>(q.scale[static_cast<size_t>(row)]);
}

TEST(RefitScale, IsTheRatioOfTheFormula) {
  const SecondMoment moment = moment_of(kCols);
  for (const std::string grid : {"uniform", "trellis"}) {
    MethodRequest request{.method = "gptq", .bits = 2, .grid = grid};
    request.params = {{"explore", "weights"}, {"refits", "1"}, {"passes", "0"}, {"damping", "0"}};
    if (grid == "uniform") request.params["zero"] = "centered";
    const QuantizedMatrix q = solution_of(request).q;
    request.params["refits"] = "0";
    const QuantizedMatrix before = solution_of(request).q;
    std::vector<float> value(before.codes.size());
    dequantize(before, {value.data(), kRows, kCols});
    for (int64_t r = 0; r < kRows; ++r) {
      double above = 0, below = 0;
      for (int64_t i = 0; i < kCols; ++i) {
        const double unit = unit_value(before, value, static_cast<size_t>(r * kCols + i), r);
        for (int64_t j = 0; j < kCols; ++j) {
          const double h = moment.h[static_cast<size_t>(i * kCols + j)];
          above += unit * h * weights()[static_cast<size_t>(r * kCols + j)];
          below += unit * h * unit_value(before, value, static_cast<size_t>(r * kCols + j), r);
        }
      }
      const float scale = q.scale[static_cast<size_t>(r)];
      EXPECT_NEAR(scale, above / below, std::fabs(scale) * 0x1p-11 * 1.01) << grid << " row " << r;
    }
  }
}

/// Least loss of a row with its codes and free levels: by many sweeps of one level at a time.
double least_table_loss(const QuantizedMatrix& q, const SecondMoment& moment, int64_t row) {
  const size_t levels = size_t{1} << q.scheme.bits;
  std::vector<double> table(levels, 0.0), error(static_cast<size_t>(kCols));
  const auto code = [&](int64_t j) { return q.codes[static_cast<size_t>(row * kCols + j)]; };
  const auto h = [&](int64_t i, int64_t j) { return moment.h[static_cast<size_t>(i * kCols + j)]; };
  for (int64_t j = 0; j < kCols; ++j) {
    error[static_cast<size_t>(j)] = weights()[static_cast<size_t>(row * kCols + j)];
  }
  for (int sweep = 0; sweep < 2000; ++sweep) {
    for (size_t a = 0; a < levels; ++a) {
      double slope = 0, square = 0;
      for (int64_t i = 0; i < kCols; ++i) {
        if (code(i) != a) continue;
        for (int64_t j = 0; j < kCols; ++j) {
          slope += h(i, j) * error[static_cast<size_t>(j)];
          square += code(j) == a ? h(i, j) : 0;
        }
      }
      if (!(square > 0)) continue;
      for (int64_t j = 0; j < kCols; ++j) {
        if (code(j) == a) error[static_cast<size_t>(j)] -= slope / square;
      }
    }
  }
  double loss = 0;
  for (int64_t i = 0; i < kCols; ++i) {
    for (int64_t j = 0; j < kCols; ++j) {
      loss += error[static_cast<size_t>(i)] * h(i, j) * error[static_cast<size_t>(j)];
    }
  }
  return loss;
}

TEST(RefitTable, HasNearlyTheLeastLossOfAnyTable) {
  const SecondMoment moment = moment_of(kCols);
  for (const int bits : {2, 4}) {
    const QuantizedMatrix q =
        solution_of({.method = "leanquant",
                     .bits = bits,
                     .params = {{"refits", "1"}, {"passes", "0"}, {"damping", "0"}}})
            .q;
    const std::vector<double> losses = row_losses(q, 0);
    for (int64_t r = 0; r < kRows; r += 10) {
      const double least = least_table_loss(q, moment, r);
      const double loss = losses[static_cast<size_t>(r)];
      EXPECT_GE(loss, least * (1 - 1e-6)) << bits << " bits, row " << r;
      // What int8 levels cost where five weights share one of 16.
      EXPECT_LE(loss, least * 1.05) << bits << " bits, row " << r;
    }
  }
}

TEST(Refits, AreRefusedByNameWhereTheGridHasNone) {
  for (const auto& [grid, setting] : std::map<std::string, std::map<std::string, std::string>>{
           {"pot", {}}, {"uniform", {{"scale-per", "tensor"}}}}) {
    MethodRequest request{.method = "gptq", .grid = grid, .params = setting};
    request.params["refits"] = "2";
    try {
      choose_method(request);
      ADD_FAILURE() << grid;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("--refits"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace twofold

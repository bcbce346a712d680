// Fractional bits: some matrices of a rule get a bit more than the others.
#include "pipeline/rate_plan.h"

#include <algorithm>
#include <climits>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "pipeline/support.h"

namespace twofold {
namespace {

using testing::error_of;
using testing::read_file;
using testing::stories;
using testing::TempFolder;
using testing::test_data;

TEST(ShareBits, MostHarmPerWeightFirstUpToTheMean) {
  std::vector<RatedMatrix> matrices = {{.name = "a", .weights = 100, .divergence = 1},
                                       {.name = "b", .weights = 50, .divergence = 2},
                                       {.name = "c", .weights = 150, .divergence = 2},
                                       {.name = "d", .weights = 40, .divergence = 0.1}};
  const auto bits = [&](double mean) {
    share_bits(mean, matrices);
    std::vector<int> all;
    for (const RatedMatrix& matrix : matrices) all.push_back(matrix.bits);
    return all;
  };
  EXPECT_EQ(bits(2.1), (std::vector{2, 2, 2, 2}));    // 34 weights: none fits
  EXPECT_EQ(bits(2.2), (std::vector{2, 3, 2, 2}));    // 68
  EXPECT_EQ(bits(2.3), (std::vector{2, 3, 2, 3}));    // 102: c and a are too large for the rest
  EXPECT_EQ(bits(3.6), (std::vector{3, 4, 4, 3}));    // 204
  EXPECT_EQ(bits(2.999), (std::vector{3, 3, 3, 2}));  // 339.66 of 340
}

Recipe fractional(double bits, const std::string& tables = "rtn:8") {
  RecipeFlags flags;
  flags.block.method = "hadamard-levels";
  flags.mean_bits = bits;
  flags.head = flags.embeddings = tables;
  return recipe_from_flags(flags);
}

class Rates : public ::testing::Test {
 protected:
  QuantizeOptions options(const std::string& name) {
    return {.output = folder_ / name,
            .seed = 7,
            .calibration = CalibrationOptions{
                .files = {test_data("text") / "ts-calibration.txt"}, .samples = 4, .context = 64}};
  }
  TempFolder folder_;
  ThreadPool pool_{2, false};
  Context ctx_{.pool = pool_};
};

TEST_F(Rates, APlanIsARecipeOfWholeBitsThatGivesTheSameFile) {
  const ModelFiles source = open_model(stories());
  const RatePlan plan = plan_rates(source, fractional(2.5), options("a"), ctx_);
  double bits = 0, weights = 0;
  int more = 0;
  for (const RatedMatrix& matrix : plan.matrices) {
    EXPECT_GT(matrix.divergence, 0) << matrix.name;
    EXPECT_TRUE(matrix.bits == 2 || matrix.bits == 3);
    bits += matrix.bits * static_cast<double>(matrix.weights);
    weights += static_cast<double>(matrix.weights);
    more += matrix.bits == 3 ? 1 : 0;
  }
  EXPECT_LE(bits, 2.5 * weights);
  EXPECT_GT(bits, 2.4 * weights);
  EXPECT_EQ(std::ssize(plan.recipe.rules.front().names), more);
  EXPECT_FALSE(has_mean_bits(plan.recipe));
  const Recipe read = parse_recipe(to_json(plan.recipe).dump(), "plan");
  EXPECT_EQ(to_json(read), to_json(plan.recipe));

  quantize_model(source, fractional(2.5), options("a"), ctx_);
  ThreadPool alone(1, false);
  const QuantizeReport report = quantize_model(source, read, options("b"), Context{.pool = alone});
  EXPECT_EQ(sha256_hex(read_file(folder_ / "a" / "model.safetensors")),
            sha256_hex(read_file(folder_ / "b" / "model.safetensors")));
  for (const RatedMatrix& matrix : plan.matrices) {
    const auto row = std::ranges::find(report.matrices, matrix.name, &MatrixReport::name);
    ASSERT_NE(row, report.matrices.end());
    EXPECT_EQ(row->parameters["bits"], matrix.bits);
  }
}

TEST_F(Rates, DoNotDependOnThreadsOrMemory) {
  const ModelFiles source = open_model(stories());
  const RatePlan expected = plan_rates(source, fractional(3.3), options("a"), ctx_);
  ThreadPool alone(1, false);
  QuantizeOptions tight = options("a");
  const int64_t mib = int64_t{1} << 20;
  tight.memory_bytes = int64_t{4096} * mib;
  const RatePlan other = plan_rates(source, fractional(3.3), tight, Context{.pool = alone});
  EXPECT_EQ(to_json(other.recipe), to_json(expected.recipe));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a.plan"));
}

/// Quantizes to 2.5 bits until `matrices` of them are done.  @return whether rates were planned.
bool plans_in_run(const QuantizeOptions& options, int matrices, std::string& log) {
  ThreadPool pool(2, false);
  bool planned = false;
  int64_t last = INT64_MAX;
  int done_matrices = 0;
  log.clear();
  const auto progress = [&](std::string_view phase, int64_t done, int64_t /*total*/) {
    planned |= phase.starts_with("rates");
    const bool more = done > std::exchange(last, done);
    if (!more || phase.find("quantize") == phase.npos || ++done_matrices < matrices) return;
    fail(ErrorCode::kCancelled, "", "stopped here");
  };
  const Context ctx{.pool = pool, .progress = progress, .log = [&](std::string_view line) {
                      log += std::string(line) + "\n";
                    }};
  try {
    quantize_model(open_model(stories()), fractional(2.5), options, ctx);
    EXPECT_EQ(matrices, INT_MAX);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled) << error.what();
  }
  return planned;
}

TEST_F(Rates, AnInterruptedRunGoesOnWithItsPlan) {
  std::string log;
  EXPECT_TRUE(plans_in_run(options("whole"), INT_MAX, log));
  QuantizeOptions parts = options("parts");
  parts.save_interval_seconds = 0;
  EXPECT_TRUE(plans_in_run(parts, 5, log));
  EXPECT_FALSE(plans_in_run(parts, 3, log));
  EXPECT_NE(log.find("the rates are planned already"), std::string::npos) << log;
  EXPECT_FALSE(plans_in_run(parts, INT_MAX, log));
  EXPECT_NE(log.find("going on after 8 of"), std::string::npos) << log;
  for (const char* file : {"model.safetensors", "config.json"}) {
    EXPECT_EQ(sha256_hex(read_file(folder_ / "parts" / file)),
              sha256_hex(read_file(folder_ / "whole" / file)));
  }
}

TEST_F(Rates, APlanForOtherWorkOrThatWasDamagedIsMadeAnew) {
  std::string log;
  QuantizeOptions parts = options("parts");
  parts.save_interval_seconds = 0;
  EXPECT_TRUE(plans_in_run(parts, 2, log));
  parts.seed = 8;
  EXPECT_TRUE(plans_in_run(parts, 2, log));
  parts.resume = false;
  EXPECT_TRUE(plans_in_run(parts, 2, log));
  parts.resume = true;
  EXPECT_FALSE(plans_in_run(parts, 1, log));
  const auto state = folder_ / "parts.partial" / "resume.jsonl";
  std::string text = read_file(state);
  const size_t bits = text.find("\"bits\":3");
  ASSERT_LT(bits, text.find('\n'));
  testing::write_file(state, text.replace(bits, 8, "\"bits\":2"));
  EXPECT_TRUE(plans_in_run(parts, INT_MAX, log));
  EXPECT_NE(log.find("resume.jsonl, line 1: the plan of rates has changed"), std::string::npos)
      << log;
}

TEST_F(Rates, TablesHaveWholeBits) {
  const Recipe recipe = parse_recipe(
      R"({"rules": [{"roles": ["embedding"], "method": "rtn", "bits": 7.5}]})", "r.json");
  const std::string message =
      error_of([&] { plan_rates(open_model(stories()), recipe, options("a"), ctx_); },
               ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("whole bits"), std::string::npos) << message;
}

}  // namespace
}  // namespace twofold

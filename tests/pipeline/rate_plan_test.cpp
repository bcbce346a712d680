// Fractional bits: some matrices of a rule get a bit more than the others.
#include "pipeline/rate_plan.h"

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

#include "quant/rounding.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/matrices.h"
#include "support/parity_grid.h"

namespace twofold {
namespace {

/// Least squared distance of 8 numbers (in steps) to the integers with an even sum, by trying
/// floor and ceiling of each.
double least_even_distance(const float* x) {
  double best = 1e30;
  for (int choice = 0; choice < 256; ++choice) {
    int sum = 0;
    double distance = 0;
    for (int i = 0; i < 8; ++i) {
      const double steps = static_cast<double>(x[i]) * 16;
      const double whole = std::floor(steps) + ((choice >> i) & 1);
      sum += static_cast<int>(whole);
      distance += (whole - steps) * (whole - steps);
    }
    if (sum % 2 == 0) best = std::min(best, distance);
  }
  return best;
}

std::string refusal(std::string_view rounding, int64_t width,
                    const std::map<std::string, std::string>& settings) {
  const Rounding& entry = find_rounding(rounding);
  try {
    entry.check(complete_params(entry.params, {}, settings), width);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

TEST(RoundingCheck, RefusesForWideGridsWhatTakesColumnsApart) {
  const auto names = [](const std::string& message, const std::string& flag) {
    return message.find(flag) != std::string::npos;
  };
  EXPECT_PRED2(names, refusal("ldlq", 8, {{"order", "diagonal"}}), "--order diagonal");
  EXPECT_PRED2(names, refusal("ldlq", 8, {{"preclamp", "on"}}), "--preclamp on");
  EXPECT_EQ(refusal("ldlq", 8, {{"passes", "1"}}), "accepted");
  EXPECT_EQ(refusal("coordinate", 16, {}), "accepted");
  EXPECT_EQ(refusal("ldlq", 8, {{"order", "reversed"}, {"explore", "loop"}}), "accepted");
  EXPECT_EQ(refusal("ldlq", 1, {{"order", "diagonal"}, {"passes", "1"}}), "accepted");
  for (const Rounding& rounding : all_roundings()) {
    EXPECT_EQ(refusal(rounding.name, 1, {}), "accepted") << rounding.name;
  }
}

TEST(NearestRounding, GivesAVectorGridWholeBlocksOfItsWidth) {
  const int64_t rows = 70, cols = 40, group = 16;  // groups of 16, 16 and 8 columns
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 1.0, "vector");
  testing::ParityGrid grid(rows, cols, group);
  ThreadPool pool(2, false);
  const Rounding& nearest = find_rounding("nearest");
  const Params params = complete_params(nearest.params, {}, {});
  std::vector<uint16_t> codes =
      nearest.run({.weight = {weight.data(), rows, cols}, .params = params}, grid, {.pool = pool})
          .codes;
  const std::vector<std::pair<int64_t, int64_t>> groups = {{0, 16}, {16, 16}, {32, 8}};
  EXPECT_EQ(grid.fitted(), groups);
  const QuantizedMatrix q = std::move(grid).finish(std::move(codes));
  validate(q);
  std::vector<float> value(q.codes.size());
  dequantize(q, {value.data(), rows, cols});
  for (size_t i = 0; i < value.size(); i += 8) {
    double distance = 0;
    int sum = 0;
    for (size_t k = i; k < i + 8; ++k) {
      distance += std::pow((static_cast<double>(value[k]) - weight[k]) * 16, 2);
      sum += q.codes[k];
    }
    EXPECT_EQ(sum % 2, 0) << i;
    EXPECT_NEAR(distance, least_even_distance(&weight[i]), 1e-9) << i;
  }
}

}  // namespace
}  // namespace twofold

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "quant/method.h"
#include "support/matrices.h"

namespace twofold {
namespace {

using Settings = std::map<std::string, std::string>;

Solution quantize(const MethodRequest& request, Matrix<const float> weight) {
  ThreadPool pool(1, false);
  return solve(choose_method(request), {.weight = weight, .matrix_name = "w"}, {.pool = pool});
}

std::vector<float> values_of(const QuantizedMatrix& q) {
  std::vector<float> values(q.codes.size());
  dequantize(q, {values.data(), q.rows, q.cols});
  return values;
}

/// 1 to 181 as one row whose scale is exactly 1, by an eps that is above max|W| / divisor.
std::vector<float> pot_of_integers(std::string rounding) {
  std::vector<float> integers(181);
  for (size_t i = 0; i < integers.size(); ++i) integers[i] = static_cast<float>(i + 1);
  const Solution s = quantize(
      {.method = "pot",
       .params = {{"range", "-256,256"}, {"eps", "1"}, {"exponent-rounding", std::move(rounding)}}},
      {integers.data(), 1, 181});
  return values_of(s.q);
}

TEST(PotGrid, MapsIntegersToTheNearestExponent) {
  const std::vector<float> values = pot_of_integers("nearest");
  const auto expected = [](int t) {
    if (t <= 2) return t;
    if (t <= 5) return 4;
    if (t <= 11) return 8;
    if (t <= 22) return 16;
    if (t <= 45) return 32;
    return t <= 90 ? 64 : 128;
  };
  for (int t = 1; t <= 181; ++t) {
    EXPECT_EQ(values[static_cast<size_t>(t - 1)], static_cast<float>(expected(t))) << t;
  }
}

TEST(PotGrid, MapsIntegersUpToTheNextPower) {
  const std::vector<float> values = pot_of_integers("up");
  for (int t = 1; t <= 181; ++t) {
    EXPECT_EQ(values[static_cast<size_t>(t - 1)],
              static_cast<float>(std::bit_ceil(static_cast<unsigned>(t))))
        << t;
  }
}

TEST(PotGrid, ReachesThePublishedFigureOnNormalWeights) {
  const int64_t rows = 256, cols = 4096;
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 0.14, "pot");
  const Solution s = quantize(
      {.method = "pot", .bits = 5, .params = {{"eps", "0.03125"}, {"scale-per", "tensor"}}},
      {weight.data(), rows, cols});
  EXPECT_EQ(s.q.scale[0] * std::ldexp(1.0f, s.q.scheme.level_exponent), 0.03125f);
  EXPECT_NEAR(-10 * std::log10(s.proxy_loss), 13.27, 0.02);
  double zeros = 0;
  for (uint16_t code : s.q.codes) zeros += code == 0;
  EXPECT_NEAR(100 * zeros / static_cast<double>(s.q.codes.size()), 8.9, 0.1);
}

}  // namespace
}  // namespace twofold

// The shift-and-add product against its definition: 128-bit multiplications by the levels.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/pot_shift_add.h"
#include "quant/method.h"
#include "support/matrices.h"

namespace twofold {
namespace {

QuantizedMatrix pot_matrix(const MethodRequest& request, int64_t rows, int64_t cols) {
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 0.1, "shift");
  ThreadPool pool(1, false);
  return solve(choose_method(request), {.weight = {weight.data(), rows, cols}}, {.pool = pool}).q;
}

__extension__ typedef __int128 Wide;

/// Sum of level x X by multiplication, wide enough never to overflow.
Wide naive_sum(const QuantizedMatrix& q, std::span<const int64_t> fixed, int64_t row) {
  Wide sum = 0;
  for (int64_t c = 0; c < q.cols; ++c) {
    const float level = q.levels[q.codes[static_cast<size_t>(row * q.cols + c)]];
    sum += static_cast<Wide>(static_cast<int64_t>(level)) * fixed[static_cast<size_t>(c)];
  }
  return sum;
}

TEST(PotShiftAdd, EqualsMultiplicationBitForBit) {
  const int64_t rows = 24, cols = 300;
  for (int bits = 2; bits <= 6; ++bits) {
    for (const char* scale_per : {"row", "tensor"}) {
      const QuantizedMatrix q = pot_matrix(
          {.method = "pot", .bits = bits, .params = {{"scale-per", scale_per}}}, rows, cols);
      const std::vector<float> x = testing::normal_numbers(cols, 40, "activations");
      const std::vector<int64_t> fixed = to_fixed_point(x, 12);
      const std::vector<int64_t> sums = pot_shift_add(q, fixed);
      for (int64_t r = 0; r < rows; ++r) {
        EXPECT_TRUE(static_cast<Wide>(sums[static_cast<size_t>(r)]) == naive_sum(q, fixed, r)) << r;
      }
      // y: the integer sum scaled in float64, rounded once. Against the float product of the
      // fixed-point activations: float64 sums are exact to 2^-53 of the magnitudes.
      std::vector<float> y(static_cast<size_t>(rows)), weight(q.codes.size());
      pot_matvec(q, x, 12, y);
      dequantize(q, {weight.data(), rows, cols});
      for (int64_t r = 0; r < rows; ++r) {
        double sum = 0, magnitude = 0;
        for (int64_t c = 0; c < cols; ++c) {
          const double product =
              std::ldexp(static_cast<double>(fixed[static_cast<size_t>(c)]), -12) *
              weight[static_cast<size_t>(r * cols + c)];
          sum += product;
          magnitude += std::fabs(product);
        }
        EXPECT_NEAR(y[static_cast<size_t>(r)], sum, 0x1p-24 * std::fabs(sum) + 0x1p-40 * magnitude);
      }
    }
  }
}

TEST(PotShiftAdd, FixedPointRoundsHalfToEvenAndSaturates) {
  const std::vector<float> x = {
      0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 0.25f, 3e9f, -3e9f, std::numeric_limits<float>::infinity()};
  const int64_t top = int64_t{1} << 31;
  EXPECT_EQ(to_fixed_point(x, 0), (std::vector<int64_t>{0, 2, 2, 0, -2, 0, top, -top, top}));
  EXPECT_EQ(to_fixed_point(std::vector<float>{0.25f, -3.0f}, 12),
            (std::vector<int64_t>{1024, -3 * 4096}));
  EXPECT_THROW(to_fixed_point(std::vector<float>{std::numeric_limits<float>::quiet_NaN()}, 12),
               Error);
}

TEST(PotShiftAdd, IsExactUpToItsBoundAndRefusesBeyond) {
  QuantizedMatrix q;
  q.scheme = {.kind = ValueKind::kTable,
              .bits = 2,
              .scale_sharing = Sharing::kMatrix,
              .level_type = LevelType::kFloat32};
  q.rows = 1;
  q.cols = 4;
  q.codes = {1, 1, 1, 1};
  q.scale = {1};
  q.levels = {0, 0x1p30f, 0, -0x1p30f};
  const int64_t top = int64_t{1} << 31;
  const std::vector<int64_t> most = {top, top, top, top - 1};  // 2^63 - 2^30
  EXPECT_EQ(pot_shift_add(q, most)[0],
            std::numeric_limits<int64_t>::max() - (int64_t{1} << 30) + 1);
  EXPECT_THROW(pot_shift_add(q, std::vector<int64_t>{top, top, top, top}), Error);
  EXPECT_THROW(pot_shift_add(q, std::vector<int64_t>{top}), Error);
}

TEST(PotShiftAdd, RefusesLevelsThatAreNoPowersOfTwo) {
  const QuantizedMatrix apot = pot_matrix({.method = "apot"}, 2, 16);
  const QuantizedMatrix rtn = pot_matrix({.method = "rtn"}, 2, 16);
  const std::vector<int64_t> fixed(16, 1);
  EXPECT_THROW(pot_shift_add(apot, fixed), Error);
  EXPECT_THROW(pot_shift_add(rtn, fixed), Error);
}

}  // namespace
}  // namespace twofold

// Activations in int8: how close they are to what they stand for, and that nothing else decides.
#include "kernels/int8_activations.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/cpu.h"
#include "support/matrices.h"

namespace twofold {
namespace {

constexpr int64_t kRows = 37, kCols = 300;

std::vector<float> with_outliers() {
  std::vector<float> x = testing::normal_numbers(kRows * kCols, 1, "x");
  for (size_t i = 0; i < x.size(); i += 97) x[i] *= 50;
  return x;
}

std::vector<float> rounded(const std::vector<float>& x, const ActivationRounding& rounding, Isa isa,
                           int threads) {
  ThreadPool pool(threads, false);
  std::vector<float> y(x.size());
  Int8Activations activations({x.data(), kRows, kCols}, rounding, isa, pool);
  EXPECT_EQ(activations.rows(), kRows * rounding.digits);
  activations.dequantize({y.data(), kRows, kCols});
  return y;
}

TEST(Int8Activations, AreWithinHalfAStepOfTheLastDigit) {
  const std::vector<float> x = with_outliers();
  for (const int64_t block : {32, 64, 128}) {
    for (const int digits : {1, 2}) {
      const std::vector<float> y = rounded(x, {block, digits}, Isa::kScalar, 1);
      for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t begin = 0; begin < kCols; begin += block) {
          double largest = 0;
          const int64_t end = std::min(kCols, begin + block);
          for (int64_t c = begin; c < end; ++c) {
            largest = std::max<double>(largest, std::fabs(x[static_cast<size_t>(r * kCols + c)]));
          }
          // A step of the second digit is at most half a step of the first, divided by 127.
          const double step = digits == 1 ? largest / 127 : largest / 127 / 2 / 127;
          for (int64_t c = begin; c < end; ++c) {
            const auto i = static_cast<size_t>(r * kCols + c);
            ASSERT_NEAR(y[i], x[i], step / 2 + 4 * 0x1p-24 * largest) << block << ' ' << digits;
          }
        }
      }
    }
  }
}

TEST(Int8Activations, AreTheSameOnEveryInstructionSetAndForAnyThreads) {
  const std::vector<float> x = with_outliers();
  for (const int digits : {1, 2}) {
    const std::vector<float> expected = rounded(x, {128, digits}, Isa::kScalar, 1);
    for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAmx}) {
      if (!cpu_has(isa)) continue;
      for (const int threads : {1, 3}) EXPECT_EQ(rounded(x, {128, digits}, isa, threads), expected);
    }
  }
}

}  // namespace
}  // namespace twofold

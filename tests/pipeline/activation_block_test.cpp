// The check that gives a matrix its block of int8 activations.
#include "pipeline/activation_block.h"

#include <gtest/gtest.h>

#include "support/matrices.h"

namespace twofold {
namespace {

constexpr int64_t kRows = 48, kCols = 256, kSample = 32;

int64_t block_for(std::vector<float> sample, double proxy_loss) {
  ThreadPool pool(1, false);
  const Scheme scheme = parse_format("r16-u4").scheme;
  const PackedMatrix packed = pack(testing::random_quantized(scheme, kRows, kCols, "q"));
  return choose_activation_block(packed, TransformSpec{}, {sample.data(), kSample, kCols},
                                 proxy_loss, {.pool = pool, .isa = Isa::kScalar});
}

TEST(ActivationBlock, IsTheDefaultWhereRoundingAddsLittle) {
  EXPECT_EQ(block_for(testing::normal_numbers(kSample * kCols, 1, "x"), 0.01), 128);
}

TEST(ActivationBlock, ShrinksAroundOutliers) {
  std::vector<float> sample = testing::normal_numbers(kSample * kCols, 1, "x");
  for (size_t i = 0; i < sample.size(); i += 128) sample[i] *= 20;  // 1 of 4 blocks of 32 is coarse
  EXPECT_LT(block_for(sample, 0.008), 128);
  EXPECT_EQ(block_for(sample, 1e-6), 32);
}

TEST(ActivationBlock, IsTheDefaultWithoutASample) {
  ThreadPool pool(1, false);
  const PackedMatrix packed =
      pack(testing::random_quantized(parse_format("r16-u4").scheme, 16, 64, "q"));
  EXPECT_EQ(
      choose_activation_block(packed, TransformSpec{}, {nullptr, 0, 64}, 0.01, {.pool = pool}),
      128);
}

}  // namespace
}  // namespace twofold

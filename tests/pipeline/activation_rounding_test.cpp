// The check that gives a matrix its block of int8 activations.
#include "pipeline/activation_rounding.h"

#include <gtest/gtest.h>

#include "support/matrices.h"

namespace twofold {
namespace {

constexpr int64_t kRows = 48, kCols = 256, kSample = 32;

ActivationRounding rounding_for(std::vector<float> sample, double proxy_loss) {
  ThreadPool pool(1, false);
  const Scheme scheme = parse_format("r16-u4").scheme;
  const PackedMatrix packed = pack(testing::random_quantized(scheme, kRows, kCols, "q"));
  return choose_activation_rounding(packed, TransformSpec{}, {sample.data(), kSample, kCols},
                                    proxy_loss, {.pool = pool, .isa = Isa::kScalar});
}

int64_t block_for(std::vector<float> sample, double proxy_loss) {
  return rounding_for(std::move(sample), proxy_loss).block;
}

TEST(ActivationRounding, IsTheDefaultWhereRoundingAddsLittle) {
  EXPECT_EQ(block_for(testing::normal_numbers(kSample * kCols, 1, "x"), 0.01), 128);
}

TEST(ActivationRounding, ShrinksAroundOutliers) {
  std::vector<float> sample = testing::normal_numbers(kSample * kCols, 1, "x");
  for (size_t i = 0; i < sample.size(); i += 128) sample[i] *= 20;  // 1 of 4 blocks of 32 is coarse
  EXPECT_LT(block_for(sample, 0.008), 128);
  EXPECT_EQ(rounding_for(sample, 1e-6), ActivationRounding{.digits = 2});
  EXPECT_EQ(block_for(testing::normal_numbers(kSample * kCols, 1, "x"), 1e-6), 32);
}

TEST(ActivationRounding, CountsInputsAsNormalWithoutASample) {
  ThreadPool pool(1, false);
  const PackedMatrix packed =
      pack(testing::random_quantized(parse_format("r16-u4").scheme, kRows, kCols, "q"));
  const auto rounding = [&](double proxy_loss, Role role = Role::kMlpIn) {
    return choose_activation_rounding(packed.format, role, proxy_loss);
  };
  EXPECT_EQ(rounding(0.01), ActivationRounding{});
  EXPECT_EQ(rounding(1e-5), ActivationRounding{.block = 32});
  EXPECT_EQ(rounding(0.01, Role::kHead), ActivationRounding{});
  EXPECT_EQ(rounding(1e-5, Role::kHead), ActivationRounding{.digits = 2});
  // Between the losses where the block changes, a large sample of normal numbers agrees.
  constexpr int64_t kMany = 512;
  const std::vector<float> sample = testing::normal_numbers(kMany * kCols, 1, "x");
  for (const double loss : {0.0022, 0.0026, 0.0031}) {
    EXPECT_EQ(rounding(loss),
              choose_activation_rounding(packed, TransformSpec{}, {sample.data(), kMany, kCols},
                                         loss, {.pool = pool}))
        << loss;
  }
}

TEST(ActivationRounding, IsStoredWhereItIsNotTheDefault) {
  for (const ActivationRounding& rounding :
       {ActivationRounding{}, ActivationRounding{.block = 64}, ActivationRounding{.digits = 2}}) {
    OrderedJson tensor = {{"format", "r16-u4"}, {"activation_block", 32}};
    store_rounding(rounding, tensor);
    EXPECT_EQ(stored_rounding(tensor), rounding);
    EXPECT_EQ(tensor.size(), rounding == ActivationRounding{} ? 1u : 2u);
  }
}

}  // namespace
}  // namespace twofold

// 3-bit GPTQ of a 768 x 3072 matrix has the codes of gptq_reference.py, an independent float64
// script, by hash. How the input is made is described there.
#include <gtest/gtest.h>

#include "base/sha256.h"
#include "quant/method.h"
#include "tensor/linalg.h"

namespace twofold {
namespace {

constexpr int64_t kRows = 768, kCols = 3072, kSamples = 256, kFactors = 8;

/// Number `i` of a stream: 16 bits of splitmix64.
int64_t number(uint64_t stream, int64_t i) {
  uint64_t z = (stream << 32) + static_cast<uint64_t>(i) + 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return static_cast<int64_t>((z ^ (z >> 31)) >> 48);
}

class GptqReference : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    weight_.resize(kRows * kCols);
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      const int64_t sum = number(0, i) + number(1, i) + number(2, i) + number(3, i) - 131070;
      weight_[static_cast<size_t>(i)] = static_cast<float>(sum) * 0x1p-21f;
    }
    std::vector<double> x(kSamples * kCols), transposed(x.size());
    for (int64_t t = 0; t < kSamples; ++t) {
      for (int64_t j = 0; j < kCols; ++j) {
        int64_t sum = number(6, t * kCols + j) % 32 - 16;
        for (int64_t k = 0; k < kFactors; ++k) {
          sum += (number(4, t * kFactors + k) % 16 - 8) * (number(5, j * kFactors + k) % 16 - 8);
        }
        x[static_cast<size_t>(t * kCols + j)] = static_cast<double>(sum << (number(7, j) % 3));
        transposed[static_cast<size_t>(j * kSamples + t)] = x[static_cast<size_t>(t * kCols + j)];
      }
    }
    moment_ = {.cols = kCols, .tokens = kSamples, .h = {}, .mean_magnitude = {}};
    moment_.h.assign(kCols * kCols, 0.0);
    add_product({transposed.data(), kCols, kSamples}, {x.data(), kSamples, kCols},
                {moment_.h.data(), kCols, kCols}, select_isa());  // exact
  }
  static void TearDownTestSuite() {
    weight_ = {};
    moment_ = {};
  }
  static std::string hash_of_codes(MethodRequest request) {
    request.bits = 3;
    request.params["explore"] = "off";
    ThreadPool pool(2, false);
    const Solution solution = solve(choose_method(request),
                                    {.weight = {weight_.data(), kRows, kCols}, .moment = &moment_},
                                    {.pool = pool, .isa = select_isa()});
    return sha256_hex(std::string(solution.q.codes.begin(), solution.q.codes.end()));
  }

  static std::vector<float> weight_;
  static SecondMoment moment_;
};
std::vector<float> GptqReference::weight_;
SecondMoment GptqReference::moment_;

TEST_F(GptqReference, WholeRowsHaveTheSameCodes) {
  EXPECT_EQ(hash_of_codes({.method = "gptq"}),
            "7226e72f6638a434889070a47e4e9493e4c1850a1f15635b3fcf370f1f95e608");
}

TEST_F(GptqReference, GroupsFittedOnTheWayHaveTheSameCodes) {
  EXPECT_EQ(hash_of_codes({.method = "gptq", .group = 128}),
            "518c7c5023a5908707186f13fe8c7be014155f63c4ec009ed2de1398794df258");
}

TEST_F(GptqReference, ActOrderHasTheSameCodes) {
  EXPECT_EQ(hash_of_codes({.method = "gptq", .params = {{"order", "diagonal"}}}),
            "284a1a9f665bdc2499ce16f2bfb00e52692a2b227e02b31bd4bcc612ef393af2");
}

}  // namespace
}  // namespace twofold

// QuIP's random orthogonal matrices: the table of factor sizes, orthogonality, and golden checksums
// that every machine must reproduce.
#include "transform/kronecker.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/error.h"
#include "support/matrices.h"
#include "transform/transform.h"

namespace twofold {
namespace {

struct FactorRow {
  int64_t n, published_p, published_q, balanced_p, balanced_q;
};
// The factors that the paper's code takes, and the divisors nearest to the square root.
constexpr FactorRow kFactorRows[] = {{768, 48, 16, 24, 32},
                                     {1024, 32, 32, 32, 32},
                                     {2048, 64, 32, 32, 64},
                                     {2560, 32, 80, 40, 64},
                                     {3072, 96, 32, 48, 64},
                                     {4096, 64, 64, 64, 64},
                                     {5120, 160, 32, 64, 80},
                                     {7168, 224, 32, 64, 112},
                                     {8192, 128, 64, 64, 128},
                                     {11008, 688, 16, 86, 128},
                                     {13824, 96, 144, 108, 128},
                                     {28672, 448, 64, 128, 224},
                                     {576, 24, 24, 24, 24},
                                     {1, 1, 1, 1, 1},
                                     {7, 7, 1, 1, 7}};

TEST(KroneckerFactors, FollowTheRuleOfTheCodeAndTheSquareRoot) {
  for (const FactorRow& row : kFactorRows) {
    const KroneckerFactors published = kronecker_factors(FactorRule::kPublished, row.n);
    const KroneckerFactors balanced = kronecker_factors(FactorRule::kBalanced, row.n);
    // The code does not say which of the two is multiplied from the left.
    EXPECT_EQ(std::set({published.p, published.q}), std::set({row.published_p, row.published_q}))
        << row.n;
    EXPECT_EQ(balanced.p, row.balanced_p) << row.n;
    EXPECT_EQ(balanced.q, row.balanced_q) << row.n;
  }
}

TEST(HaarMatrix, IsOrthogonalToDoublePrecision) {
  for (const int64_t n : {1, 2, 24, 128}) {
    const std::vector<double> m = haar_matrix(3, "test", n);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (int64_t c = 0; c < n; ++c) {
          sum += m[static_cast<size_t>(i * n + c)] * m[static_cast<size_t>(j * n + c)];
        }
        EXPECT_NEAR(sum, i == j ? 1 : 0, 1e-14);
      }
    }
  }
}

TEST(HaarMatrix, HasEntriesWithTheVarianceOfTheUniformDistribution) {
  // Entries of a Haar matrix have mean 0 and variance 1 / n; the first one's sign is free.
  constexpr int kDraws = 400;
  double mean = 0, square = 0;
  for (uint64_t seed = 0; seed < kDraws; ++seed) {
    const double entry = haar_matrix(seed, "test", 6).front();
    mean += entry / kDraws;
    square += entry * entry / kDraws;
  }
  EXPECT_NEAR(mean, 0, 5 * std::sqrt(1.0 / 6 / kDraws));
  EXPECT_NEAR(square, 1.0 / 6, 5 * std::sqrt(2.0 / 36 / kDraws));
}

TEST(KroneckerRotation, IsOrthogonalInSinglePrecision) {
  for (const FactorRule rule : {FactorRule::kBalanced, FactorRule::kPublished}) {
    for (const int64_t n : {int64_t{1}, int64_t{7}, int64_t{172}, int64_t{576}}) {
      const KroneckerRotation rotation(5, rule, n);
      std::vector<float> basis(static_cast<size_t>(n * n), 0.0f);  // row i: R e_i
      for (int64_t i = 0; i < n; ++i) basis[static_cast<size_t>(i * n + i)] = 1;
      const Matrix<float> m(basis.data(), n, n);
      rotation.apply(m, Isa::kScalar);
      double worst = 0;
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j <= i; ++j) {
          double sum = 0;
          for (int64_t c = 0; c < n; ++c) {
            sum += static_cast<double>(m.at(i, c)) * static_cast<double>(m.at(j, c));
          }
          worst = std::max(worst, std::abs(sum - (i == j ? 1 : 0)));
        }
      }
      EXPECT_LT(worst, 1e-6) << n;
    }
  }
}

// Files store seeds only: a change of these numbers makes every written model unreadable.
TEST(KroneckerRotation, DrawsTheSameFactorsOnEveryMachine) {
  EXPECT_EQ(KroneckerRotation(1, FactorRule::kBalanced, 576).checksum(), 6189089668974459089u);
  EXPECT_EQ(KroneckerRotation(1, FactorRule::kPublished, 768).checksum(), 10258668091528321102u);
  EXPECT_EQ(KroneckerRotation(12345678901234567890u, FactorRule::kBalanced, 11).checksum(),
            8900877541051323825u);
  EXPECT_NE(KroneckerRotation(2, FactorRule::kBalanced, 576).checksum(),
            KroneckerRotation(1, FactorRule::kBalanced, 576).checksum());
}

TEST(KroneckerRotation, RefusesLargePrimesByName) {
  EXPECT_EQ(kronecker_refusal(FactorRule::kBalanced, 509), "");
  EXPECT_EQ(kronecker_refusal(FactorRule::kBalanced, 28672), "");
  EXPECT_NE(kronecker_refusal(FactorRule::kBalanced, 521).find("521 is prime"), std::string::npos);
  EXPECT_NE(kronecker_refusal(FactorRule::kBalanced, 2 * 1031).find("1031"), std::string::npos);
  const Transform& quip = find_transform("quip");
  const Params params = complete_params(quip.params, {}, {});
  EXPECT_THROW(quip.check_shape(params, 576, 521), Error);
  EXPECT_THROW(quip.check_shape(params, 521, 576), Error);
  EXPECT_EQ(quip.check_shape(params, 576, 1536), "");
}

TEST(Hadamard, SaysWhereItHasSignsOnly) {
  const Transform& hadamard = find_transform("hadamard");
  EXPECT_EQ(hadamard.check_shape({}, 576, 192), "");
  EXPECT_NE(hadamard.check_shape({}, 576, 7).find("input side 7"), std::string::npos);
  EXPECT_NE(hadamard.check_shape({}, 9, 64).find("output side 9"), std::string::npos);
}

/// The message of the Error of kind kCorruptFile that preparing `spec` throws.
std::string corruption(const TransformSpec& spec, int64_t rows, int64_t cols) {
  try {
    prepare_transform(spec, rows, cols);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruptFile) << error.what();
    return error.what();
  }
  return "";
}

TEST(PrepareTransform, FindsDamagedSpecifications) {
  const Transform& quip = find_transform("quip");
  ThreadPool pool(1, false);
  std::vector<float> w(6 * 8, 1.0f);
  TransformSpec spec =
      quip.fit_input({.weights = {{w.data(), 6, 8}},
                      .moment = {},
                      .mean_magnitude = {},
                      .params = complete_params(quip.params, {}, {{"rescale", "off"}}),
                      .seed = 1,
                      .name = "in",
                      .trial = {}},
                     pool);
  quip.add_output(spec, 1, "w", 6);
  EXPECT_EQ(corruption(spec, 6, 8), "");
  TransformSpec bad = spec;
  bad.input_seed ^= 1;
  EXPECT_NE(corruption(bad, 6, 8).find("checksum"), std::string::npos);
  bad = spec;
  bad.output_checksum ^= 1;
  EXPECT_NE(corruption(bad, 6, 8).find("output side"), std::string::npos);
  bad = spec;
  bad.variant = "square";
  EXPECT_NE(corruption(bad, 6, 8).find("square"), std::string::npos);
  EXPECT_NE(corruption(spec, 6, 521).find("prime"), std::string::npos);
  EXPECT_NE(corruption(spec, 6, 4), "");
  for (const std::string name : {"quip", "awq"}) {
    for (const float value : {0.0f, -1.0f, INFINITY, NAN}) {
      bad = name == "quip" ? spec : TransformSpec{.name = name, .variant = {}, .input_scale = {}};
      bad.input_scale.assign(8, 1.0f);
      EXPECT_EQ(corruption(bad, 6, 8), "");
      bad.input_scale[3] = value;
      EXPECT_NE(corruption(bad, 6, 8).find("column 3"), std::string::npos);
      bad.input_scale.pop_back();
      EXPECT_NE(corruption(bad, 6, 8).find("found 7"), std::string::npos);
    }
  }
}

TEST(Quip, WithoutAMomentRescalingIsRefused) {
  const Transform& quip = find_transform("quip");
  ThreadPool pool(1, false);
  std::vector<float> w(4, 1.0f);
  const Params params = complete_params(quip.params, {}, {});
  EXPECT_TRUE(quip.needs_moment(params));
  EXPECT_THROW(quip.fit_input({.weights = {{w.data(), 2, 2}},
                               .moment = {},
                               .mean_magnitude = {},
                               .params = params,
                               .seed = 1,
                               .name = "in",
                               .trial = {}},
                              pool),
               Error);
}

TEST(Quip, RescaleBalancesMomentAndWeights) {
  // d = (H_jj / sum of W_rj^2)^(1/4) makes H'_jj equal to the energy of column j of W'.
  const std::vector<float> w = testing::normal_numbers(6 * 8, 1, "w");
  std::vector<double> h(64, 0.0);
  for (size_t j = 0; j < 8; ++j) h[j * 9] = static_cast<double>(j * j * j + 1);
  const Transform& quip = find_transform("quip");
  ThreadPool pool(1, false);
  const TransformSpec spec = quip.fit_input({.weights = {{w.data(), 4, 8}, {w.data() + 32, 2, 8}},
                                             .moment = {h.data(), 8, 8},
                                             .mean_magnitude = {},
                                             .params = complete_params(quip.params, {}, {}),
                                             .seed = 1,
                                             .name = "in",
                                             .trial = {}},
                                            pool);
  ASSERT_EQ(spec.input_scale.size(), 8u);
  for (size_t j = 0; j < 8; ++j) {
    double energy = 0;
    for (size_t r = 0; r < 6; ++r) energy += std::pow(static_cast<double>(w[r * 8 + j]), 2);
    const double scale = static_cast<double>(spec.input_scale[j]);
    // The scale is rounded to 11 bits and enters in the fourth power.
    EXPECT_NEAR(h[j * 9] * scale * scale / (energy / (scale * scale)), 1, 4.1 * 0x1p-11) << j;
  }
}

TEST(Awq, KeepsThePowerWithTheLeastLoss) {
  const Transform& awq = find_transform("awq");
  ThreadPool pool(1, false);
  const std::vector<float> w(8, 1.0f);
  const std::vector<double> h = {1, 0, 0, 1}, magnitude = {16, 1};
  // The power is read off the ratio of the two factors, 16^power.
  const auto power = [](std::span<const float> s) {
    return std::log(static_cast<double>(s[0] / s[1])) / std::log(16.0);
  };
  const TransformSpec spec =
      awq.fit_input({.weights = {{w.data(), 4, 2}},
                     .moment = {h.data(), 2, 2},
                     .mean_magnitude = magnitude,
                     .params = {},
                     .seed = 1,
                     .name = "in",
                     .trial = [&](std::span<const float> s) { return std::abs(power(s) - 0.52); }},
                    pool);
  // 16^(1/2) = 4, shared evenly: the first input is halved, the second doubled.
  EXPECT_EQ(spec.input_scale, (std::vector<float>{0.5f, 2.0f}));
}

}  // namespace
}  // namespace twofold

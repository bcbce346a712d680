#include "tensor/ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/float16.h"
#include "tensor/random_matrix.h"

namespace twofold {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
// Around the widths and unrolling of every instruction set.
const std::vector<int64_t> kLengths = {0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 127, 200, 577};

class OpsTest : public testing::TestWithParam<Isa> {
 protected:
  const Ops& ops_ = ops(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Isas, OpsTest, testing::ValuesIn(usable_isas()),
                         [](const auto& row) { return std::string(isa_name(row.param)); });

std::vector<float> random_numbers(int64_t n, uint32_t seed) {
  return RandomMatrix(1, n, 0, seed).numbers;
}

// Dense numbers from low to high, a part of a vector left over.
std::vector<float> ramp(float low, float high) {
  std::vector<float> numbers;
  for (int i = 0; i <= 200000; ++i) {
    numbers.push_back(low + (high - low) * static_cast<float>(i) / 200000.0f);
  }
  return numbers;
}

// |got - want| at most 4 units in the last place of want, or 1e-7.
void expect_close(float got, double want, float at) {
  const float rounded = static_cast<float>(want);
  const double ulp =
      static_cast<double>(std::nextafter(std::abs(rounded), kInf) - std::abs(rounded));
  ASSERT_LE(std::abs(static_cast<double>(got) - want), std::max(4 * ulp, 1e-7)) << "at " << at;
}

template <class F>
void expect_function(void (*op)(const float*, float*, int64_t), const std::vector<float>& x, F f) {
  std::vector<float> y(x.size());
  op(x.data(), y.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    expect_close(y[i], f(static_cast<double>(x[i])), x[i]);
  }
}

TEST_P(OpsTest, ActivationsEqualTheLibraryFunctions) {
  const auto silu = [](double x) { return x / (1 + std::exp(-x)); };
  const auto gelu_erf = [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); };
  const auto gelu_tanh = [](double x) {
    const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
    return x / (1 + std::exp(-2 * u));
  };
  std::vector<float> extremes = {0.0f,   -0.0f, 1e-38f, -1e-38f, 1e-45f, 88.7f, -88.7f, 104.0f,
                                 -104.f, 1e4f,  -1e4f,  1e10f,   -1e10f, 1e30f, -1e30f};
  for (const auto& x : {ramp(-1.5f, 1.5f), ramp(-12, 12), ramp(-120, 120), extremes}) {
    expect_function(ops_.silu, x, silu);
    expect_function(ops_.gelu_erf, x, gelu_erf);
    expect_function(ops_.relu, x, [](double a) { return std::max(a, 0.0); });
  }
  extremes.resize(11);  // the cube of 1e30 is infinite in float32
  for (const auto& x : {ramp(-1.5f, 1.5f), ramp(-12, 12), ramp(-120, 120), extremes}) {
    expect_function(ops_.gelu_tanh, x, gelu_tanh);
  }
}

TEST_P(OpsTest, SoftCapIsATangentAtZeroAndNeverAboveItsCap) {
  for (const float cap : {0.5f, 30.0f, 50.0f}) {
    for (const float factor : {0.0625f, 1.0f, 3.0f}) {
      std::vector<float> x = ramp(-400, 400);
      for (const float extreme : {1e-30f, -1e-6f, 1e10f, -1e30f}) x.push_back(extreme);
      std::vector<float> y = x;
      ops_.soft_cap(factor, cap, y.data(), static_cast<int64_t>(y.size()));
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_NEAR(y[i], cap * std::tanh(double{factor} * x[i] / cap), 1e-6 * cap) << x[i];
        ASSERT_LE(std::abs(y[i]), cap);
      }
    }
  }
}

void softmax(const Ops& op, float* x, int64_t n) {
  float top, total;
  op.softmax(1.0f, x, n, &top, &total);
}

TEST_P(OpsTest, ExponentialIsAccurateFromZeroToInfinity) {
  // exp reaches the outside as a quotient of softmax: of {0, x} the second entry is
  // e^x / (1 + e^x), and for x far below 0 that is e^x; weights of no consequence are 0.
  for (const float x : ramp(-104.0f, -17.5f)) {
    float pair[2] = {0.0f, x};
    softmax(ops_, pair, 2);
    const double want = x < kNegligibleScore ? 0.0 : std::exp(static_cast<double>(x));
    ASSERT_NEAR(static_cast<double>(pair[1]), want, 4 * FLT_EPSILON * want) << x;
  }
}

TEST_P(OpsTest, SoftmaxHandlesMaskedEntries) {
  for (const int64_t n : kLengths) {
    if (n == 0) continue;
    std::vector<float> x = random_numbers(n, 1);
    for (size_t i = 0; i < x.size(); i += 3) x[i] = i % 2 == 0 ? -kInf : -1e30f;
    x.back() = 50.0f;
    std::vector<double> want;
    double total = 0;
    for (const float v : x) total += std::exp(static_cast<double>(v) - 50.0);
    for (const float v : x) want.push_back(std::exp(static_cast<double>(v) - 50.0) / total);
    softmax(ops_, x.data(), n);
    for (size_t i = 0; i < x.size(); ++i) expect_close(x[i], want[i], static_cast<float>(i));
    std::vector<float> masked(static_cast<size_t>(n), -kInf);
    softmax(ops_, masked.data(), n);
    EXPECT_EQ(masked, std::vector<float>(static_cast<size_t>(n), 0.0f));
  }
}

TEST_P(OpsTest, PartsOfASoftmaxDescribeThemselves) {
  for (const int64_t n : kLengths) {
    std::vector<float> x = random_numbers(n, 1), part = x;
    if (n > 2) part[1] = x[1] = -kInf;
    double want_top = -static_cast<double>(kInf), want_total = 0;
    for (const float v : x) want_top = std::max(want_top, static_cast<double>(3.0f * v));
    for (const float v : x) want_total += std::exp(static_cast<double>(3.0f * v) - want_top);
    float top = kUntouched, total = kUntouched;
    ops_.softmax(3.0f, part.data(), n, &top, &total);
    EXPECT_EQ(static_cast<double>(top), want_top);
    // Exponentials are off by 2 ulp of 1 at most, their sum by an addition each.
    EXPECT_NEAR(static_cast<double>(total), want_total,
                want_total * static_cast<double>(n + 2) * FLT_EPSILON);
    std::vector<float> scaled = x;
    ops_.scale(3.0f, scaled.data(), n);
    softmax(ops_, scaled.data(), n);
    EXPECT_EQ(part, scaled);
  }
  std::vector<float> masked(20, -kInf);
  float top = 0, total = 1;
  ops_.softmax(1.0f, masked.data(), 20, &top, &total);
  EXPECT_EQ(top, -kInf);
  EXPECT_EQ(total, 0.0f);
  EXPECT_EQ(masked, std::vector<float>(20, 0.0f));
}

TEST_P(OpsTest, LogSumExpAndMaxEqualDoubleSums) {
  for (int64_t n : {1, 5, 16, 63, 200, 50257}) {
    std::vector<float> x = random_numbers(n, 2);
    for (float& v : x) v *= 5;
    x[static_cast<size_t>(n / 2)] = n > 1 ? -kInf : 3.0f;
    double total = 0;
    for (const float v : x) total += std::exp(static_cast<double>(v));
    expect_close(ops_.log_sum_exp(x.data(), n), std::log(total), static_cast<float>(n));
    EXPECT_EQ(ops_.max(x.data(), n), *std::max_element(x.begin(), x.end()));
  }
  const std::vector<float> masked(20, -kInf);
  EXPECT_EQ(ops_.log_sum_exp(masked.data(), 20), -kInf);
  EXPECT_EQ(ops_.max(masked.data(), 0), -kInf);
}

TEST_P(OpsTest, DivergenceEqualsDoubleSum) {
  for (int64_t n : {1, 5, 16, 63, 200, 50257}) {
    std::vector<float> lp = random_numbers(n, 3), lq = random_numbers(n, 4);
    for (std::vector<float>* x : {&lp, &lq}) {
      const float norm = ops_.log_sum_exp(x->data(), n);
      for (float& v : *x) v -= norm;
    }
    if (n > 4) lp[2] = lq[2] = lp[4] = -kInf;  // what P excludes adds nothing, whatever Q says
    double want = 0, magnitude = 0;
    for (size_t i = 0; i < lp.size(); ++i) {
      const double p = std::exp(static_cast<double>(lp[i]));
      if (p == 0) continue;
      const double term = p * (static_cast<double>(lp[i]) - static_cast<double>(lq[i]));
      want += term;
      magnitude += std::abs(term);
    }
    EXPECT_NEAR(ops_.kl_divergence(lp.data(), lq.data(), n), want, 4 * FLT_EPSILON * magnitude);
  }
}

TEST_P(OpsTest, SumsStayWithinTheirBound) {
  for (const int64_t n : kLengths) {
    const std::vector<float> a = random_numbers(n, 5), b = random_numbers(n, 6);
    std::vector<uint16_t> half, brain;
    double sum[3] = {}, magnitude = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      half.push_back(to_float16(b[i]).bits);
      brain.push_back(to_bfloat16(b[i]).bits);
      const float stored[3] = {b[i], to_float(Float16{half[i]}), to_float(BFloat16{brain[i]})};
      for (int s = 0; s < 3; ++s) {
        sum[s] += static_cast<double>(a[i]) * static_cast<double>(stored[s]);
      }
      magnitude += std::abs(static_cast<double>(a[i]) * static_cast<double>(b[i]));
    }
    const double bound = 2.0 * static_cast<double>(n) * FLT_EPSILON * magnitude;
    EXPECT_NEAR(static_cast<double>(ops_.dot(a.data(), b.data(), n)), sum[0], bound);
    EXPECT_NEAR(static_cast<double>(ops_.dot_f16(a.data(), half.data(), n)), sum[1], bound);
    EXPECT_NEAR(static_cast<double>(ops_.dot_bf16(a.data(), brain.data(), n)), sum[2], bound);
  }
}

TEST_P(OpsTest, ElementwiseOperationsTouchTheirElementsOnly) {
  for (const int64_t n : kLengths) {
    const std::vector<float> x = random_numbers(n + 1, 7), y = random_numbers(n + 1, 8);
    std::vector<float> sum = y, mixed = y, scaled = y, both = y;
    ops_.add(x.data(), sum.data(), n);
    ops_.axpy(0.5f, x.data(), mixed.data(), n);
    ops_.scale(0.25f, scaled.data(), n);
    ops_.mix(0.25f, both.data(), 0.5f, x.data(), n);
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      EXPECT_EQ(sum[i], y[i] + x[i]);
      EXPECT_NEAR(mixed[i], y[i] + 0.5f * x[i], FLT_EPSILON * std::abs(y[i]));
      EXPECT_EQ(scaled[i], 0.25f * y[i]);
      EXPECT_NEAR(both[i], 0.25f * y[i] + 0.5f * x[i],
                  FLT_EPSILON * (std::abs(y[i]) + std::abs(x[i])));
    }
    for (const auto* out : {&sum, &mixed, &scaled, &both}) EXPECT_EQ(out->back(), y.back());
  }
}

TEST_P(OpsTest, GatedActivationsAreTheActivationTimesTheOtherNumberBitForBit) {
  struct Pair {
    void (*plain)(const float*, float*, int64_t);
    void (*gated)(const float*, const float*, float*, int64_t);
  };
  for (const Pair& op :
       {Pair{ops_.silu, ops_.silu_mul}, Pair{ops_.relu, ops_.relu_mul},
        Pair{ops_.gelu_erf, ops_.gelu_erf_mul}, Pair{ops_.gelu_tanh, ops_.gelu_tanh_mul}}) {
    for (const int64_t n : kLengths) {
      const std::vector<float> gate = random_numbers(n, 7), up = random_numbers(n, 8);
      std::vector<float> active(gate.size()), product(gate.size() + 1, kUntouched);
      op.plain(gate.data(), active.data(), n);
      op.gated(gate.data(), up.data(), product.data(), n);
      for (size_t i = 0; i < gate.size(); ++i) ASSERT_EQ(product[i], active[i] * up[i]) << i;
      EXPECT_EQ(product.back(), kUntouched);
    }
  }
}

TEST_P(OpsTest, NormsEqualDoubleNorms) {
  for (const int64_t n : kLengths) {
    if (n == 0) continue;
    std::vector<float> x = random_numbers(n, 9);
    const std::vector<float> w = random_numbers(n, 10), b = random_numbers(n, 11);
    for (float& v : x) v += 100.0f;  // a mean that one-pass variances would not survive
    double mean = 0, squares = 0, variance = 0;
    for (const float v : x) mean += static_cast<double>(v) / static_cast<double>(n);
    for (const float v : x) {
      squares += static_cast<double>(v) * static_cast<double>(v) / static_cast<double>(n);
      variance += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean) /
                  static_cast<double>(n);
    }
    std::vector<float> y(x.size() + 1, kUntouched), plain = y, rms = y;
    ops_.layer_norm(x.data(), w.data(), b.data(), 1e-5f, y.data(), n);
    ops_.layer_norm(x.data(), w.data(), nullptr, 1e-5f, plain.data(), n);
    ops_.rms_norm(x.data(), w.data(), 1e-5f, rms.data(), n);
    for (size_t i = 0; i < x.size(); ++i) {
      const double v = static_cast<double>(x[i]), weight = static_cast<double>(w[i]);
      const double deviation = std::sqrt(variance + 1e-5);
      // The float mean is off by some units of 100 * eps, divided by the deviation.
      const double bound = (8 * 100 * FLT_EPSILON / deviation + 1e-6) * (std::abs(weight) + 1) * 4;
      const double unit = (v - mean) / deviation * weight;
      EXPECT_NEAR(static_cast<double>(plain[i]), unit, bound);
      EXPECT_NEAR(static_cast<double>(y[i]), unit + static_cast<double>(b[i]), bound);
      EXPECT_NEAR(static_cast<double>(rms[i]), v / std::sqrt(squares + 1e-5) * weight,
                  1e-5 * std::abs(weight));
    }
    for (const auto* out : {&y, &plain, &rms}) EXPECT_EQ(out->back(), kUntouched);
  }
}

TEST_P(OpsTest, WideningEqualsTheScalarConversionBitForBit) {
  std::vector<uint16_t> bits;
  for (uint32_t i = 0; i < 0x10000; ++i) bits.push_back(static_cast<uint16_t>(i));
  bits.push_back(0x7d01);  // a signalling NaN in the last, partial vector
  std::vector<float> half(bits.size()), brain(bits.size());
  ops_.f16_to_f32(bits.data(), half.data(), static_cast<int64_t>(bits.size()));
  ops_.bf16_to_f32(bits.data(), brain.data(), static_cast<int64_t>(bits.size()));
  for (size_t i = 0; i < bits.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(half[i]),
              std::bit_cast<uint32_t>(to_float(Float16{bits[i]})));
    ASSERT_EQ(std::bit_cast<uint32_t>(brain[i]),
              std::bit_cast<uint32_t>(to_float(BFloat16{bits[i]})));
  }
}

TEST_P(OpsTest, NarrowingEqualsTheScalarConversionBitForBit) {
  // Every exponent and sign, mantissas at and around all rounding boundaries: each upper half with
  // chosen lower halves, and a stride through everything.
  std::vector<float> x;
  for (uint32_t top = 0; top < 0x10000; ++top) {
    for (const uint32_t low : {0x0000u, 0x0001u, 0x0fffu, 0x1000u, 0x1001u, 0x2000u, 0x3000u,
                               0x7fffu, 0x8000u, 0x8001u, 0xf000u, 0xffffu}) {
      x.push_back(std::bit_cast<float>(top << 16 | low));
    }
  }
  for (uint64_t u = 0; u < (uint64_t{1} << 32); u += 4099) {
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(u)));
  }
  x.push_back(std::bit_cast<float>(0xff800001u));
  std::vector<uint16_t> half(x.size()), brain(x.size());
  ops_.f32_to_f16(x.data(), half.data(), static_cast<int64_t>(x.size()));
  ops_.f32_to_bf16(x.data(), brain.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_EQ(half[i], to_float16(x[i]).bits) << std::bit_cast<uint32_t>(x[i]);
    ASSERT_EQ(brain[i], to_bfloat16(x[i]).bits) << std::bit_cast<uint32_t>(x[i]);
  }
}

TEST_P(OpsTest, ExtentIsThatOfSortingWithZerosAndNumbersThatAreNotFiniteInOrder) {
  for (const int64_t n : kLengths) {
    if (n == 0) continue;
    std::vector<float> x = random_numbers(n, 21);
    float lo = 0, hi = 0;
    ops_.extent(x.data(), n, &lo, &hi);
    EXPECT_EQ(lo, *std::min_element(x.begin(), x.end()));
    EXPECT_EQ(hi, *std::max_element(x.begin(), x.end()));
    for (const float bad : {kInf, -kInf, std::nanf(""), -std::nanf("")}) {
      std::vector<float> damaged = x;
      damaged[static_cast<size_t>(n / 2)] = bad;
      ops_.extent(damaged.data(), n, &lo, &hi);
      EXPECT_FALSE(std::isfinite(lo) && std::isfinite(hi)) << n << ' ' << bad;
    }
    x.assign(static_cast<size_t>(n), 0.0f);
    x.back() = -0.0f;
    ops_.extent(x.data(), n, &lo, &hi);
    EXPECT_TRUE(std::signbit(lo));
    EXPECT_EQ(std::signbit(hi), n == 1);
  }
}

TEST_P(OpsTest, AffineCodesAreTheNearestIntegersBetweenTheirBounds) {
  for (const AffineRounding by :
       {AffineRounding{0.25f, 3, 0, 3, -3, 12}, AffineRounding{0.01f, 7.3f, 7.3f, 0, 0, 15},
        AffineRounding{1e-9f, 128, 0, 128, -128, 127}}) {
    for (const int64_t n : kLengths) {
      std::vector<float> x = random_numbers(n, 22);
      for (size_t i = 0; i < x.size(); i += 3) x[i] = std::nearbyint(8 * x[i]) / 8;  // ties
      std::vector<uint16_t> codes(x.size() + 1, 999);
      std::vector<float> values(x.size() + 1, kUntouched);
      ops_.round_affine(x.data(), n, by, codes.data(), values.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const float whole = std::clamp(std::nearbyint(x[i] / by.scale + by.before), by.lo, by.hi);
        ASSERT_EQ(codes[i], whole + by.after) << x[i];
        ASSERT_EQ(values[i], by.scale * (whole + by.after - by.zero)) << x[i];
      }
      EXPECT_EQ(codes.back(), 999);
      EXPECT_EQ(values.back(), kUntouched);
    }
  }
}

TEST_P(OpsTest, SquaresAreSummedInTheSameLanesByEveryInstructionSet) {
  for (const int64_t n : kLengths) {
    const std::vector<float> x = random_numbers(n, 23), y = random_numbers(n, 24);
    SquareSums found{}, expected{};
    found.x[2] = expected.x[2] = 0.125;
    ops_.add_squares(x.data(), y.data(), n, &found);
    const int64_t full = n / SquareSums::kLanes * SquareSums::kLanes;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t lane = i < full ? i % SquareSums::kLanes : 0;
      const auto k = static_cast<size_t>(i);
      const double wide = x[k], distance = static_cast<double>(y[k]) - wide;
      expected.x[lane] += wide * wide;
      expected.distance[lane] += distance * distance;
    }
    for (int64_t lane = 0; lane < SquareSums::kLanes; ++lane) {
      EXPECT_EQ(found.x[lane], expected.x[lane]) << n;
      EXPECT_EQ(found.distance[lane], expected.distance[lane]) << n;
    }
  }
}

TEST_P(OpsTest, EightBitVectorsEqualTheScalarTableAndStayWithinHalfAStep) {
  for (const int64_t n : kLengths) {
    for (const float size : {1.0f, 1e-30f, 1e-37f, 1e37f, 0.0f}) {
      std::vector<float> x = random_numbers(n, 12);
      for (float& v : x) v *= size;
      std::vector<int8_t> codes(static_cast<size_t>(n + 1), 99), scalar = codes;
      const float scale = ops_.f32_to_q8(x.data(), codes.data(), n);
      EXPECT_EQ(scale, ops(Isa::kScalar).f32_to_q8(x.data(), scalar.data(), n));
      EXPECT_EQ(codes, scalar);
      EXPECT_EQ(codes.back(), 99);
      std::vector<float> back(static_cast<size_t>(n + 1), kUntouched);
      ops_.q8_rows_to_f32(codes.data(), &scale, back.data(), 1, n);
      EXPECT_EQ(back.back(), kUntouched);
      float widest = 0;
      for (const float v : x) widest = std::max(widest, std::abs(v));
      if (size == 1.0f && n > 0) {
        EXPECT_EQ(scale, widest / 127.0f);
      }
      for (size_t i = 0; i < x.size(); ++i) {
        // Half a step, the rounding of x / scale and of the product; or what is too small to scale.
        const float bound = std::max(scale * (0.5f + 127 * 3 * FLT_EPSILON), 1e-36f);
        ASSERT_LE(std::abs(back[i] - x[i]), bound) << n << " " << size;
      }
    }
  }
  for (const float bad : {kInf, -kInf, std::numeric_limits<float>::quiet_NaN()}) {
    for (const size_t at : {size_t{0}, size_t{20}, size_t{36}}) {
      std::vector<float> x = random_numbers(37, 12);
      x[at] = bad;
      std::vector<int8_t> codes(x.size());
      EXPECT_TRUE(std::isnan(ops_.f32_to_q8(x.data(), codes.data(), 37)));
    }
  }
}

TEST_P(OpsTest, EightBitNumbersAreScaledByTheirRowOrColumn) {
  for (const int64_t n : kLengths) {
    const int64_t rows = 3;
    const std::vector<float> by_row = random_numbers(rows, 13), by_col = random_numbers(n, 14);
    std::vector<int8_t> codes;
    for (int64_t i = 0; i < rows * n; ++i) codes.push_back(static_cast<int8_t>(i * 37 % 255 - 127));
    std::vector<float> rowwise(codes.size() + 1, kUntouched), colwise = rowwise;
    ops_.q8_rows_to_f32(codes.data(), by_row.data(), rowwise.data(), rows, n);
    ops_.q8_cols_to_f32(codes.data(), by_col.data(), colwise.data(), rows, n);
    for (size_t i = 0; i < codes.size(); ++i) {
      const float code = static_cast<float>(codes[i]);
      ASSERT_EQ(rowwise[i], by_row[i / static_cast<size_t>(n)] * code);
      ASSERT_EQ(colwise[i], by_col[i % static_cast<size_t>(n)] * code);
    }
    EXPECT_EQ(rowwise.back(), kUntouched);
    EXPECT_EQ(colwise.back(), kUntouched);
  }
}

TEST_P(OpsTest, HadamardEqualsTheMatrixAndTheScalarTableBitForBit) {
  for (int64_t block = 1; block <= 512; block *= 2) {
    for (const int64_t blocks : {int64_t{0}, int64_t{1}, int64_t{3}}) {
      const int64_t n = block * blocks;
      const std::vector<float> x = random_numbers(n, 7);
      std::vector<float> y = x, scalar = x;
      ops_.hadamard(y.data(), n, block);
      ops(Isa::kScalar).hadamard(scalar.data(), n, block);
      EXPECT_EQ(y, scalar) << block;
      for (int64_t i = 0; i < n; ++i) {
        const int64_t start = i / block * block;
        double sum = 0, magnitude = 0;
        for (int64_t j = 0; j < block; ++j) {
          // Entry (i, j) of Sylvester's matrix: -1 to the number of ones that i and j share.
          const bool odd = std::popcount(static_cast<uint64_t>((i - start) & j)) % 2 != 0;
          const double value = static_cast<double>(x[static_cast<size_t>(start + j)]);
          sum += odd ? -value : value;
          magnitude += std::abs(value);
        }
        // log2(block) <= 9 roundings of sums that stay below the sum of magnitudes.
        ASSERT_NEAR(static_cast<double>(y[static_cast<size_t>(i)]), sum, 10 * 0x1p-24 * magnitude);
      }
    }
  }
}

}  // namespace
}  // namespace twofold

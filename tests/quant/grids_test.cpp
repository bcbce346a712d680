#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <tuple>

#include "base/error.h"
#include "quant/method.h"
#include "quant/round_half_even.h"
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

TEST(RoundHalfEven, EqualsNearbyint) {
  for (float x : {0.0f, -0.0f, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 0.49999997f, 0x1p22f + 0.5f,
                  0x1p22f + 1.5f, 0x1p23f - 0.5f, 0x1p23f + 1, 1e30f, -1e30f, 1e-40f}) {
    EXPECT_EQ(std::bit_cast<uint32_t>(round_half_even(x)),
              std::bit_cast<uint32_t>(std::nearbyint(x)))
        << x;
  }
  for (float x : testing::normal_numbers(10000, 1e4, "round")) {
    EXPECT_EQ(round_half_even(x), std::nearbyint(x));
  }
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

/// Nearest of all values of a row's levels, by trying them all; a tie may go either way.
void expect_nearest_levels(const MethodRequest& request) {
  const int64_t rows = 20, cols = 200;
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 0.3, "levels");
  const Solution s = quantize(request, {weight.data(), rows, cols});
  const float power = std::ldexp(1.0f, s.q.scheme.level_exponent);
  const std::vector<float> values = values_of(s.q);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const size_t i = static_cast<size_t>(r * cols + c);
      double best = 1e30;
      for (float level : s.q.levels) {
        best = std::min(best, std::fabs(static_cast<double>(s.q.scale[static_cast<size_t>(r)]) *
                                            (level * power) -
                                        weight[i]));
      }
      EXPECT_LE(std::fabs(static_cast<double>(values[i]) - weight[i]), best * (1 + 1e-5));
    }
  }
}

TEST(PotGrid, MidpointInOneStepGivesTheNearestValue) {
  for (int bits = 2; bits <= 6; ++bits) {
    expect_nearest_levels({.method = "pot",
                           .bits = bits,
                           .params = {{"form", "one-step"}, {"exponent-rounding", "midpoint"}}});
  }
}

TEST(ApotGrid, GivesTheNearestValue) {
  for (int bits = 4; bits <= 6; ++bits) expect_nearest_levels({.method = "apot", .bits = bits});
}

TEST(ApotGrid, LevelsHaveAtMostTwoTerms) {
  const std::vector<float> one = {1.0f};
  const size_t magnitudes[] = {8, 16, 29};
  for (int bits = 4; bits <= 6; ++bits) {
    const Solution s = quantize({.method = "apot", .bits = bits}, {one.data(), 1, 1});
    EXPECT_EQ(s.q.scheme.level_type, LevelType::kInt8);
    std::vector<int> seen;
    for (size_t code = 0; code < s.q.levels.size() / 2; ++code) {
      const int level = static_cast<int>(s.q.levels[code]);
      EXPECT_EQ(static_cast<float>(-level), s.q.levels[code + s.q.levels.size() / 2]);
      EXPECT_LE(std::popcount(static_cast<unsigned>(level)), 2);
      if (level != 0 || code == 0) seen.push_back(level);
    }
    EXPECT_EQ(seen.size(), magnitudes[bits - 4]);
    EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  }
}

TEST(PotGrid, HasTheLevelsThatItsBitsPromise) {
  struct Promise {
    int bits;
    float top;
    bool zero;
    LevelType type;
  };
  for (const Promise& p :
       {Promise{3, 8, false, LevelType::kInt8}, Promise{4, 64, true, LevelType::kInt8},
        Promise{5, 128, true, LevelType::kInt16}, Promise{6, 32768, true, LevelType::kFloat32}}) {
    const std::vector<float> weight = testing::normal_numbers(64, 1.0, "promise");
    const Solution s = quantize({.method = "pot", .bits = p.bits}, {weight.data(), 1, 64});
    const std::vector<float>& levels = s.q.levels;
    EXPECT_EQ(*std::max_element(levels.begin(), levels.end()), p.top);
    EXPECT_EQ(*std::min_element(levels.begin(), levels.end()), -p.top);
    EXPECT_EQ(std::count(levels.begin(), levels.end(), 0.0f) > 0, p.zero);
    EXPECT_EQ(s.q.scheme.level_type, p.type);
    EXPECT_GE(std::fabs(s.q.scale[0]), 0x1p-14f) << "the scale is a normal binary16 number";
  }
}

TEST(PotGrid, EqualsThePublishedFormulaPerTensor) {
  const int64_t rows = 30, cols = 50;
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 0.1, "published");
  float largest = 0;
  for (float w : weight) largest = std::max(largest, std::fabs(w));
  for (const bool up : {false, true}) {
    const Solution s = quantize({.method = "pot",
                                 .params = {{"range", "-16,15"},
                                            {"scale-per", "tensor"},
                                            {"exponent-rounding", up ? "up" : "nearest"}}},
                                {weight.data(), rows, cols});
    EXPECT_EQ(s.q.scheme.bits, 4);
    const std::vector<float> values = values_of(s.q);
    const float scale = largest / 15.5f;
    for (size_t i = 0; i < weight.size(); ++i) {
      const float t = std::clamp(std::nearbyint(weight[i] / scale), -16.0f, 15.0f);
      const double exponent = std::log2(std::fabs(t));
      const double power = std::exp2(up ? std::ceil(exponent - 1e-6) : std::nearbyint(exponent));
      const float expected = t == 0 ? 0 : scale * static_cast<float>(std::copysign(power, t));
      ASSERT_EQ(values[i], expected) << weight[i];
    }
  }
}

TEST(PotGrid, ScaleSearchNeverLosesAgainstTheLargestWeight) {
  const int64_t rows = 16, cols = 256;
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 0.1, "search");
  for (const char* sharing : {"row", "tensor"}) {
    const Settings plain = {{"scale-per", sharing}};
    const Settings search = {{"scale-per", sharing}, {"scale-search", "mse"}};
    for (int bits : {3, 4, 5}) {
      const double without =
          quantize({.method = "pot", .bits = bits, .params = plain}, {weight.data(), rows, cols})
              .proxy_loss;
      const double with =
          quantize({.method = "pot", .bits = bits, .params = search}, {weight.data(), rows, cols})
              .proxy_loss;
      EXPECT_LT(with, without * 1.0001) << sharing << bits;
    }
  }
}

TEST(UniformGrid, EqualsThePublishedIntegersPerTensor) {
  const int64_t rows = 30, cols = 50;
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 0.1, "integers");
  float largest = 0;
  for (float w : weight) largest = std::max(largest, std::fabs(w));
  for (const auto& [range, lo, hi] :
       {std::tuple{"-127,127", -127.0f, 127.0f}, std::tuple{"-16,15", -16.0f, 15.0f},
        std::tuple{"-7,7", -7.0f, 7.0f}}) {
    const Solution s =
        quantize({.method = "rtn", .params = {{"range", range}, {"scale-per", "tensor"}}},
                 {weight.data(), rows, cols});
    const float scale = largest / ((hi - lo) / 2);
    const std::vector<float> values = values_of(s.q);
    for (size_t i = 0; i < weight.size(); ++i) {
      ASSERT_EQ(values[i], scale * std::clamp(std::nearbyint(weight[i] / scale), lo, hi)) << range;
    }
  }
}

/// Every weight lies within half a step of its value, but for what a rounded scale may clip.
TEST(UniformGrid, ErrorIsAtMostHalfAStep) {
  const int64_t rows = 20, cols = 160;
  std::vector<float> weight = testing::normal_numbers(rows * cols, 0.1, "half step");
  for (int64_t c = 0; c < cols; ++c) {
    weight[static_cast<size_t>(c)] = std::fabs(weight[static_cast<size_t>(c)]) + 0.01f;  // one sign
    weight[static_cast<size_t>(cols + c)] = 0.25f;                                       // constant
  }
  for (const char* zero : {"integer", "symmetric", "centered", "float"}) {
    for (int bits = 2; bits <= 8; ++bits) {
      for (int64_t group : {0, 64}) {
        const Solution s =
            quantize({.method = "rtn", .bits = bits, .group = group, .params = {{"zero", zero}}},
                     {weight.data(), rows, cols});
        const std::vector<float> values = values_of(s.q);
        const float steps = static_cast<float>(1 << bits);
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t c = 0; c < cols; ++c) {
            const size_t i = static_cast<size_t>(r * cols + c);
            const float scale =
                s.q.scale[static_cast<size_t>(s.q.parameter_index(s.q.scheme.scale_sharing, r, c))];
            // Half a step; another half where 2^(b-1) cannot be reached above a symmetric zero or a
            // binary16 zero is off; 2^-11 of all steps for the scale.
            const float more =
                zero == std::string("integer") || zero == std::string("centered") ? 0.5f : 1.0f;
            ASSERT_LE(std::fabs(values[i] - weight[i]), scale * (more + steps * 0x1p-10f))
                << zero << bits << " row " << r << " column " << c;
          }
        }
      }
    }
  }
}

/// Relative squared error of QuIP's steps 6 and 7 with nearest rounding on standard normal numbers.
TEST(UniformGrid, ReachesThePublishedErrorOfQuipsGrid) {
  const int64_t rows = 512, cols = 2048;
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 1.0, "quip");
  const double expected[] = {0.2146, 0.0419, 0.0117};
  for (int bits = 2; bits <= 4; ++bits) {
    for (const char* sharing : {"tensor", "row"}) {
      const Solution s = quantize(
          {.method = "rtn",
           .bits = bits,
           .params = {{"zero", "centered"}, {"scale-from", "rms"}, {"scale-per", sharing}}},
          {weight.data(), rows, cols});
      EXPECT_NEAR(s.proxy_loss, expected[bits - 2], 0.002 * expected[bits - 2] + 2e-4) << sharing;
      EXPECT_NEAR(s.q.scale[0] * static_cast<float>((1 << bits) - 1), 2 * 2.4, 0.5);
    }
  }
}

/// The clip search by trying every factor on the whole row or group.
TEST(UniformGrid, ClipSearchFindsTheLeastWeightedError) {
  const int64_t rows = 9, cols = 96, group = 32;
  std::vector<float> weight = testing::normal_numbers(rows * cols, 0.05, "clip");
  for (size_t i = 0; i < weight.size(); i += 17) weight[i] *= 4;
  std::vector<float> importance = testing::normal_numbers(cols, 1.0, "clip h");
  for (float& h : importance) h = std::exp(h);
  ThreadPool pool(1, false);
  const Grid& uniform = find_grid("uniform");
  for (const char* zero : {"integer", "symmetric", "centered", "float"}) {
    for (int bits : {2, 3, 4}) {
      const auto make = [&](const char* search) {
        return uniform.make({.rows = rows,
                             .cols = cols,
                             .bits = bits,
                             .group = group,
                             .params = complete_params(uniform.params, {},
                                                       {{"zero", zero}, {"scale-search", search}}),
                             .where = "w"});
      };
      const auto loss = [&](FittedGrid& grid, Matrix<const float> fitted, int64_t col,
                            int64_t row) {
        std::vector<uint16_t> codes(static_cast<size_t>(group));
        std::vector<float> value(codes.size());
        const std::span<const float> h =
            std::span(importance).subspan(static_cast<size_t>(col), 32);
        grid.fit(col, 0, fitted, h, pool);
        const Matrix<const float> w(weight.data() + row * cols + col, 1, group);
        grid.round(col, row, w, {codes.data(), 1, group}, {value.data(), 1, group});
        double sum = 0;
        for (size_t c = 0; c < value.size(); ++c) {
          sum += h[c] * std::pow(static_cast<double>(value[c]) - w.data[c], 2);
        }
        return sum;
      };
      const auto plain = make("none"), searched = make("mse");
      for (int64_t col = 0; col < cols; col += group) {
        for (int64_t row = 0; row < rows; ++row) {
          const Matrix<const float> part(weight.data() + col, rows, group, cols);
          const double found = loss(*searched, part, col, row);
          double least = 1e300;
          for (int i = 0; i < 18; ++i) {
            // Min-max of weights shrunk by a factor is min-max of the weights times it.
            std::vector<float> shrunk(static_cast<size_t>(rows * group));
            const float factor = static_cast<float>(1 - 0.04 * i);
            for (int64_t r = 0; r < rows; ++r) {
              for (int64_t c = 0; c < group; ++c) {
                shrunk[static_cast<size_t>(r * group + c)] = part.at(r, c) * factor;
              }
            }
            least = std::min(least, loss(*plain, {shrunk.data(), rows, group}, col, row));
          }
          EXPECT_EQ(found, least) << zero << bits << " row " << row << " column " << col;
        }
      }
    }
  }
}

/// The fitted zero leaves less mean error than the plain one.
TEST(UniformGrid, HalfQuadraticFitLowersTheRobustError) {
  const int64_t rows = 32, cols = 128;
  std::vector<float> weight = testing::normal_numbers(rows * cols, 0.02, "hqq");
  for (size_t i = 0; i < weight.size(); i += 11) weight[i] *= 5;
  const auto mean_error = [&](const char* fit) {
    const Solution s = quantize({.method = "hqq", .bits = 3, .params = {{"fit", fit}}},
                                {weight.data(), rows, cols});
    EXPECT_EQ(s.q.scheme.group, 64);
    const std::vector<float> values = values_of(s.q);
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += std::fabs(values[i] - weight[i]);
    return sum;
  };
  EXPECT_LT(mean_error("half-quadratic"), 0.995 * mean_error("plain"));
}

/// Mean error after the published iteration (mobiusml.github.io/hqq_blog): p = 0.7, beta 10 growing
/// by 1.01, at most 20 rounds, until the mean error rises; the last zero counts.
double published_hqq_error(std::span<const float> w, double scale, double zero, double top) {
  const auto code = [&](double x) {
    return std::clamp(std::nearbyint(x / scale + zero), 0.0, top);
  };
  double beta = 10, least = 1e300;
  for (int round = 0; round < 20; ++round) {
    double error = 0, zeros = 0;
    for (double x : w) {
      const double q = code(x), rest = x - scale * (q - zero);
      const double shrunk =
          rest == 0 ? 0 : std::max(0.0, std::fabs(rest) - std::pow(std::fabs(rest), -0.3) / beta);
      zeros += q - (x - std::copysign(shrunk, rest)) / scale;
      error += std::fabs(rest);
    }
    zero = zeros / static_cast<double>(w.size());
    beta *= 1.01;
    if (error >= least) break;
    least = error;
  }
  double error = 0;
  for (double x : w) error += std::fabs(x - scale * (code(x) - zero));
  return error;
}

TEST(UniformGrid, HalfQuadraticFitIsNotWorseThanThePublishedIteration) {
  const int64_t rows = 64, cols = 128, group = 64;
  std::vector<float> weight = testing::normal_numbers(rows * cols, 1.0, "hqq iteration");
  for (size_t i = 0; i < weight.size(); i += 11) weight[i] *= 4;
  for (const int bits : {2, 3, 4}) {
    const auto solved = [&](const char* fit) {
      return quantize({.method = "hqq", .bits = bits, .params = {{"fit", fit}}},
                      {weight.data(), rows, cols});
    };
    const Solution plain = solved("plain"), fitted = solved("half-quadratic");
    const std::vector<float> values = values_of(fitted.q);
    double ours = 0, published = 0;
    for (size_t set = 0; set < plain.q.scale.size(); ++set) {
      EXPECT_EQ(fitted.q.scale[set], plain.q.scale[set]);
      const std::span<const float> w = std::span(weight).subspan(set * group, group);
      published += published_hqq_error(w, plain.q.scale[set], plain.q.zero[set], (1 << bits) - 1);
      for (size_t i = 0; i < w.size(); ++i) ours += std::fabs(values[set * group + i] - w[i]);
    }
    EXPECT_LE(ours, published * (1 + 1e-4)) << bits;  // zeros are binary16 here
  }
}

TEST(UniformGrid, RefusesSettingsThatDoNotGoTogether) {
  const std::vector<float> one = {1.0f};
  const auto refused = [&](const Settings& settings) {
    EXPECT_THROW(quantize({.method = "rtn", .params = settings}, {one.data(), 1, 1}), Error);
  };
  refused({{"scale-from", "rms"}});
  refused({{"scale-from", "rms"}, {"zero", "float"}});
  refused({{"fit", "half-quadratic"}});
  refused({{"fit", "half-quadratic"}, {"zero", "float"}, {"scale-per", "tensor"}});
}

TEST(QuantizedMatrix, ValidateRefusesWhatCannotBeStored) {
  const Scheme affine = {.kind = ValueKind::kAffine, .bits = 3};
  const QuantizedMatrix good = testing::random_quantized(affine, 4, 5, "good");
  validate(good);
  const auto refuses = [&](auto&& damage) {
    QuantizedMatrix q = good;
    damage(q);
    EXPECT_THROW(validate(q), Error);
  };
  refuses([](QuantizedMatrix& q) { q.codes[3] = 8; });
  refuses([](QuantizedMatrix& q) { q.codes.pop_back(); });
  refuses([](QuantizedMatrix& q) { q.scale[1] = 0.1f; });
  refuses([](QuantizedMatrix& q) { q.scale[1] = INFINITY; });
  refuses([](QuantizedMatrix& q) { q.scale.pop_back(); });
  refuses([](QuantizedMatrix& q) { q.zero[0] = 0.5f; });
  refuses([](QuantizedMatrix& q) { q.zero[0] = 256; });
  refuses([](QuantizedMatrix& q) { q.zero.clear(); });
  refuses([](QuantizedMatrix& q) { q.offset.push_back(1); });
  refuses([](QuantizedMatrix& q) { q.levels.push_back(1); });
  refuses([](QuantizedMatrix& q) { q.scheme.group = 4; });
  refuses([](QuantizedMatrix& q) { q.scheme.bits = 0; });
  refuses([](QuantizedMatrix& q) { q.rows = 0; });
}

TEST(Planes, StoreUniformGridsThatAreRoundedToThem) {
  const int64_t rows = 40, cols = 96;
  const std::vector<float> w = testing::normal_numbers(rows * cols, 0.05, "stored planes");
  SecondMoment moment{.cols = cols, .tokens = 1, .h = {}, .mean_magnitude = {}};
  moment.h.assign(cols * cols, 0.3);
  for (int64_t c = 0; c < cols; ++c) moment.h[static_cast<size_t>(c * (cols + 1))] = 1.0;
  ThreadPool pool(2, false);
  for (const char* method : {"rtn", "gptq"}) {
    for (const char* zero : {"integer", "symmetric", "centered", "float"}) {
      for (int bits = 2; bits <= 4; ++bits) {
        for (const int64_t group : {0, 32}) {
          const auto solved = [&](const char* storage) {
            const MethodRequest request{.method = method,
                                        .bits = bits,
                                        .group = group,
                                        .params = {{"zero", zero}, {"storage", storage}}};
            const MethodChoice choice = choose_method(request);
            Solution s = solve(choice,
                               {.weight = {w.data(), rows, cols},
                                .moment = &moment,
                                .seed = 1,
                                .input_name = "in",
                                .matrix_name = "w"},
                               {.pool = pool});
            EXPECT_EQ(s.q.scheme, scheme_for(choice, rows, cols));
            return s;
          };
          const Solution codes = solved("codes"), planes = solved("planes");
          const std::string what =
              fmt::format("{} {} {} bits, group {}", method, zero, bits, group);
          EXPECT_FALSE(codes.q.scheme.planes);
          EXPECT_TRUE(planes.q.scheme.planes);
          std::vector<float> expected(w.size()), values(w.size());
          dequantize(codes.q, {expected.data(), rows, cols});
          dequantize(planes.q, {values.data(), rows, cols});
          const std::string kind = zero;
          if (kind == "symmetric" || kind == "centered") {  // offsets that binary16 holds
            EXPECT_EQ(codes.q.codes, planes.q.codes) << what;
            EXPECT_EQ(expected, values) << what;
          }
          // Offsets move by half a step of binary16 at most, before rounding.
          EXPECT_LT(planes.proxy_loss, codes.proxy_loss * 1.02) << what;
        }
      }
    }
  }
  for (const auto& [name, value] : {std::pair("range", "-16,15"), {"scale-per", "tensor"}}) {
    const MethodRequest request{.method = "rtn", .params = {{"storage", "planes"}, {name, value}}};
    EXPECT_THROW(choose_method(request), Error) << name;
  }
}

}  // namespace
}  // namespace twofold

// The order of methods on synthetic layers, in relative held-out loss averaged over 30 of them.
// Figures beside the methods are the published study's, averaged over 3 layers; methods are ordered
// where they differ by more than a factor 1.2.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <vector>

#include "quant/method.h"
#include "support/synthetic_layers.h"

namespace twofold {
namespace {

using testing::SyntheticLayer;
using testing::WeightShape;

constexpr int kLayers = 30;
constexpr double kClear = 1.2;

/// A row of a table: Gaussian and Student-t weights.
struct Row {
  std::string name;
  MethodRequest request;
  std::array<double, 2> published;
};

MethodRequest request(const std::string& method, int bits,
                      std::map<std::string, std::string> params = {}) {
  MethodRequest out{.method = method, .bits = bits, .params = std::move(params)};
  if (choose_method(out).params.has("explore") && !out.params.contains("explore")) {
    out.params["explore"] = "weights";
  }
  return out;
}

std::string shape_name(WeightShape shape) {
  return shape == WeightShape::kGaussian ? "Gaussian" : "Student-t";
}

const std::vector<SyntheticLayer>& layers(WeightShape shape) {
  static std::map<WeightShape, std::vector<SyntheticLayer>> all;
  std::vector<SyntheticLayer>& made = all[shape];
  for (uint64_t seed = made.size(); seed < kLayers; ++seed) {
    made.push_back(testing::synthetic_layer(seed, shape));
  }
  return made;
}

double mean_loss(const MethodRequest& wanted, WeightShape shape) {
  const MethodChoice choice = choose_method(wanted);
  ThreadPool pool(1, false);
  double sum = 0;
  uint64_t seed = 0;
  for (const SyntheticLayer& layer : layers(shape)) {
    const Solution solution = solve(choice,
                                    {.weight = layer.matrix(),
                                     .moment = &layer.moment,
                                     .seed = seed++,
                                     .input_name = "in",
                                     .matrix_name = "w"},
                                    {.pool = pool});
    std::vector<float> restored(layer.weight.size());
    restore(solution.q, {restored.data(), SyntheticLayer::kRows, SyntheticLayer::kCols});
    sum += layer.held_out_loss(restored);
  }
  return sum / kLayers;
}

/// A pair whose published order is an accident of 3 layers: `worse` wins over 30.
struct Reversal {
  WeightShape shape;
  std::string better, worse;
};

/// Every pair of rows whose published figures differ clearly is in the same order here, but for
/// `reversed` ones, which are in the other.
void expect_published_order(const std::vector<Row>& rows,
                            const std::vector<Reversal>& reversed = {}) {
  for (const WeightShape shape : {WeightShape::kGaussian, WeightShape::kStudent}) {
    const size_t column = shape == WeightShape::kGaussian ? 0 : 1;
    std::vector<double> loss;
    for (const Row& row : rows) {
      loss.push_back(mean_loss(row.request, shape));
    }
    for (size_t better = 0; better < rows.size(); ++better) {
      for (size_t worse = 0; worse < rows.size(); ++worse) {
        const double published[] = {rows[better].published[column], rows[worse].published[column]};
        if (published[1] <= kClear * published[0]) continue;
        const bool other = std::any_of(reversed.begin(), reversed.end(), [&](const Reversal& pair) {
          return pair.shape == shape && pair.better == rows[better].name &&
                 pair.worse == rows[worse].name;
        });
        EXPECT_EQ(loss[better] > loss[worse], other)
            << loss[better] << " against " << loss[worse] << ": " << rows[better].name
            << " (published " << published[0] << ") against " << rows[worse].name << " ("
            << published[1] << "), " << shape_name(shape);
      }
    }
  }
}

TEST(SyntheticOrder, OfGptqAndQuipWithAndWithoutClampBeforeTheLoop) {
  const std::map<int, std::array<std::array<double, 2>, 3>> published = {
      {2, {{{0.0215, 0.0553}, {0.0111, 0.0133}, {0.0080, 0.0089}}}},
      {3, {{{0.0037, 0.0108}, {0.0047, 0.0062}, {0.0016, 0.0018}}}},
      {4, {{{0.0008, 0.0024}, {0.0037, 0.0048}, {0.0005, 0.0005}}}}};
  for (const auto& [bits, figures] : published) {
    SCOPED_TRACE(fmt::format("{} bits", bits));
    expect_published_order(
        {{"gptq", request("gptq", bits), figures[0]},
         {"quip as published", request("quip", bits, {{"preclamp", "on"}}), figures[1]},
         {"quip", request("quip", bits), figures[2]}});
  }
}

/// One scale for the matrix from its largest weight, as published. The rows of r exponents hold
/// 2 r + 1 levels.
TEST(SyntheticOrder, OfPowersOfTwoPlainAndInTheLoop) {
  const auto pot = [](const std::string& method, int bits, const std::string& range) {
    return request(method, bits,
                   {{"scale-per", "tensor"}, {"scale-search", "none"}, {"range", range}});
  };
  expect_published_order({{"pot r=5", pot("pot", 4, "-16,15"), {0.0383, 0.0704}},
                          {"pot r=7", pot("pot", 4, "-64,64"), {0.0384, 0.0440}},
                          {"gptq-pot r=5", pot("gptq-pot", 4, "-16,15"), {0.0033, 0.0055}},
                          {"gptq-pot r=7", pot("gptq-pot", 4, "-64,64"), {0.0032, 0.0035}}});
}

/// Two pairs say that equal importance beats the diagonal of H by 1.2. Over 30 layers made by an
/// independent script it loses instead, as it does here: Gaussian, 2 bits: binary coding with the
/// diagonal 0.0138 against the two-step grid with h = 1 0.0163 (means of 3 layers range over 0.0109
/// to 0.0191 and 0.0104 to 0.0262); Student-t, 3 bits: binary coding 0.0054 against 0.0072.
TEST(SyntheticOrder, OfGptqBinaryCodingAndTheTwoStepGrid) {
  const std::map<int, std::vector<Reversal>> reversed = {
      {2, {{WeightShape::kGaussian, "gptqt B=5, h = 1", "gptq-bcq weighted"}}},
      {3, {{WeightShape::kStudent, "gptq-bcq", "gptq-bcq weighted"}}}};
  const std::map<int, std::array<std::array<double, 2>, 8>> published = {{3,
                                                                          {{{0.0037, 0.0108},
                                                                            {0.0027, 0.0047},
                                                                            {0.0029, 0.0058},
                                                                            {0.0027, 0.0047},
                                                                            {0.0023, 0.0048},
                                                                            {0.0019, 0.0041},
                                                                            {0.0018, 0.0036},
                                                                            {0.0025, 0.0049}}}},
                                                                         {2,
                                                                          {{{0.0215, 0.0553},
                                                                            {0.0126, 0.0186},
                                                                            {0.0135, 0.0189},
                                                                            {0.0110, 0.0167},
                                                                            {0.0099, 0.0155},
                                                                            {0.0095, 0.0158},
                                                                            {0.0093, 0.0152},
                                                                            {0.0108, 0.0209}}}}};
  for (const auto& [bits, figures] : published) {
    SCOPED_TRACE(fmt::format("{} bits", bits));
    const auto two_step = [b = bits](const std::string& step_bits, bool search) {
      return request("gptqt", b,
                     {{"step-bits", step_bits}, {"explore", search ? "weights" : "off"}});
    };
    MethodRequest equal = two_step("5", true);
    equal.params["importance"] = "equal";
    expect_published_order(
        {{"gptq", request("gptq", bits), figures[0]},
         {"gptq-bcq", request("gptq-bcq", bits), figures[1]},
         {"gptq-bcq weighted", request("gptq-bcq", bits, {{"importance", "diagonal"}}), figures[2]},
         {"gptqt B=4, first scale", two_step("4", false), figures[3]},
         {"gptqt B=4", two_step("4", true), figures[4]},
         {"gptqt B=5, first scale", two_step("5", false), figures[5]},
         {"gptqt B=5", two_step("5", true), figures[6]},
         {"gptqt B=5, h = 1", equal, figures[7]}},
        reversed.at(bits));
  }
}

}  // namespace
}  // namespace twofold

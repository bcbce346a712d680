#include "quant/trellis_code.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "support/matrices.h"

namespace twofold {
namespace {

class EveryTrellis : public ::testing::TestWithParam<TrellisCode> {};

TEST_P(EveryTrellis, WindowsOfATileAreThoseOfACircleOfBits) {
  const TrellisCode& code = GetParam();
  Rng rng(3, "tile");
  TrellisTile symbols;
  std::vector<int> stream;
  for (uint16_t& symbol : symbols) {
    symbol = static_cast<uint16_t>(rng.below(1u << code.bits));
    for (int i = 0; i < code.bits; ++i) stream.push_back(symbol >> i & 1);
  }
  const TrellisTile windows = trellis_windows(symbols, code.bits, code.window);
  for (size_t step = 0; step < windows.size(); ++step) {
    uint32_t expected = 0;
    for (int i = 0; i < code.window; ++i) {
      const size_t bit = step * static_cast<size_t>(code.bits) + static_cast<size_t>(i);
      expected |= static_cast<uint32_t>(stream[bit % stream.size()]) << i;
    }
    EXPECT_EQ(windows[step], expected);
  }
}

TEST_P(EveryTrellis, LeavesEachStateByBranchesOfDifferentLevels) {
  const TrellisCode& code = GetParam();
  const int kept = code.window - code.bits;
  for (uint32_t state = 0; state < 1u << kept; ++state) {
    std::vector<int> indices;
    for (uint32_t symbol = 0; symbol < 1u << code.bits; ++symbol) {
      indices.push_back(trellis_index(code.mixing, state | symbol << kept));
    }
    std::sort(indices.begin(), indices.end());
    EXPECT_EQ(std::adjacent_find(indices.begin(), indices.end()), indices.end());
  }
  EXPECT_TRUE(std::is_sorted(code.levels.begin(), code.levels.end()));
}

// What lets kernels for instruction sets without dot products of bytes add products in 16 bits.
TEST_P(EveryTrellis, SpansAtMost64UnitsOfItsLevels) {
  const auto& levels = GetParam().levels;
  int unit = 0;
  for (const int8_t level : levels) unit = std::gcd(unit, level - levels.front());
  EXPECT_LE(levels.back() - levels.front(), 64 * unit);
}

TEST_P(EveryTrellis, MatricesOfAnySideAreCheckedWindowByWindow) {
  const Scheme scheme = {.kind = ValueKind::kTrellis,
                         .bits = GetParam().bits,
                         .scale_sharing = Sharing::kRow,
                         .table_sharing = Sharing::kMatrix,
                         .window = GetParam().window};
  QuantizedMatrix q = testing::random_quantized(scheme, 21, 37, "trellis");
  EXPECT_NO_THROW(validate(q));
  std::vector<float> values(q.codes.size());
  dequantize(q, {values.data(), q.rows, q.cols});
  for (size_t i = 0; i < values.size(); ++i) {
    const float level = q.levels[static_cast<size_t>(trellis_index(q.mixing, q.codes[i]))];
    EXPECT_EQ(values[i], q.scale[i / 37] * std::ldexp(level, q.scheme.level_exponent));
  }
  for (size_t at : {size_t{0}, size_t{36}, q.codes.size() - 1}) {
    q.codes[at] ^= 1u;
    EXPECT_THROW(validate(q), Error);
    q.codes[at] ^= 1u;
  }
}

INSTANTIATE_TEST_SUITE_P(Codes, EveryTrellis, ::testing::ValuesIn(kTrainedTrellisCodes),
                         [](const auto& param) {
                           return std::to_string(param.param.bits) + "bits" +
                                  std::to_string(param.param.window);
                         });

}  // namespace
}  // namespace twofold

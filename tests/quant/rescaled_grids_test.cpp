// Candidates of the loop: a factor on the scale means the same whether a grid is fitted before or
// after it is rescaled.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "quant/grid.h"
#include "support/matrices.h"

namespace twofold {
namespace {

constexpr int64_t kRows = 9, kCols = 96, kGroup = 32;

using Settings = std::map<std::string, std::string>;

/// Every combination of a grid's choices, also those that the grid refuses.
std::vector<Settings> all_settings(const Grid& grid) {
  std::vector<Settings> all = {{}};
  for (const ParamSpec& spec : grid.params) {
    std::vector<std::string> values(spec.choices.begin(), spec.choices.end());
    if (spec.name == "range") values = {"", "-7,7"};
    if (values.empty()) continue;
    std::vector<Settings> next;
    for (const Settings& settings : all) {
      for (const std::string& value : values) {
        next.push_back(settings);
        if (!value.empty()) next.back()[std::string(spec.name)] = value;
      }
    }
    all = std::move(next);
  }
  return all;
}

/// Null if the settings do not go together.
std::unique_ptr<FittedGrid> make_grid(const Grid& grid, int bits, int64_t group,
                                      const Settings& settings) {
  const GridRequest request{.rows = kRows,
                            .cols = kCols,
                            .bits = bits,
                            .group = group,
                            .params = complete_params(grid.params, {}, settings),
                            .where = "w"};
  try {
    grid.check(request);
  } catch (const Error&) {
    return nullptr;
  }
  return grid.make(request);
}

/// [kRows, kCols] rows around zero, far from it, of one sign, with an outlier, tiny, constant,
/// zero.
std::vector<float> weights() {
  std::vector<float> w = testing::normal_numbers(kRows * kCols, 0.05, "rescaled grids");
  for (size_t c = 0; c < kCols; ++c) {
    const auto at = [&](size_t row) -> float& { return w[row * kCols + c]; };
    at(1) += 0.08f;
    at(2) = -std::fabs(at(2));
    at(3) = std::fabs(at(3)) + 0.5f;
    at(4) *= c % 20 == 0 ? 8.0f : 1.0f;
    at(5) *= 0x1p-12f;
    at(6) = 0.3f;
    at(7) = 0;
  }
  return w;
}

void fit(FittedGrid& grid, std::span<const float> w, std::span<const float> importance) {
  ThreadPool pool(1, false);
  const int64_t group = grid.group() > 0 ? grid.group() : kCols;
  for (int64_t c = 0; c < kCols; c += group) {
    grid.fit(c, 0, {w.data() + c, kRows, group, kCols},
             importance.subspan(static_cast<size_t>(c), static_cast<size_t>(group)), pool);
  }
}

/// With the nearest codes of `w`: they show the bounds between values.
QuantizedMatrix finish(FittedGrid& grid, std::span<const float> w) {
  std::vector<uint16_t> codes(w.size());
  std::vector<float> value(w.size());
  const int64_t group = grid.group() > 0 ? grid.group() : kCols;
  for (int64_t c = 0; c < kCols; c += group) {
    grid.round(c, 0, {w.data() + c, kRows, group, kCols}, {codes.data() + c, kRows, group, kCols},
               {value.data() + c, kRows, group, kCols});
  }
  return std::move(grid).finish(std::move(codes));
}

void expect_equal(const QuantizedMatrix& a, const QuantizedMatrix& b) {
  EXPECT_EQ(a.scale, b.scale);
  EXPECT_EQ(a.zero, b.zero);
  EXPECT_EQ(a.offset, b.offset);
  EXPECT_EQ(a.levels, b.levels);
  EXPECT_EQ(a.codes, b.codes);
}

TEST(RescaledGrids, FittedThenRescaledEqualsRescaledThenFitted) {
  const std::vector<float> w = weights();
  std::vector<float> importance = testing::normal_numbers(kCols, 1, "rescaled importance");
  for (float& h : importance) h = std::exp(h);
  for (const Grid& grid : all_grids()) {
    int accepted = 0;
    for (const Settings& settings : all_settings(grid)) {
      for (const int bits : {std::max(3, grid.min_bits), 4}) {
        for (const int64_t group : {int64_t{0}, kGroup}) {
          const auto fitted = make_grid(grid, bits, group, settings);
          if (fitted == nullptr) continue;
          ++accepted;
          const auto fresh = make_grid(grid, bits, group, settings);
          fit(*fitted, w, importance);
          for (const float factor : fitted->explore_factors()) {
            const auto later = fitted->rescaled(factor), before = fresh->rescaled(factor);
            fit(*before, w, importance);
            expect_equal(finish(*later, w), finish(*before, w));
            if (!HasFailure()) continue;
            std::string text(grid.name);
            for (const auto& [name, value] : settings) text += " --" + name + " " + value;
            FAIL() << text << ", " << bits << " bits, group " << group << ", factor " << factor;
          }
        }
      }
    }
    EXPECT_GT(accepted, 0) << grid.name;
  }
}

TEST(RescaledGrids, TheRegistryKnowsTheirWidth) {
  for (const Grid& grid : all_grids()) {
    EXPECT_EQ(make_grid(grid, std::max(3, grid.min_bits), 0, {})->width(), grid.width) << grid.name;
  }
}

}  // namespace
}  // namespace twofold

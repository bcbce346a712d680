// Trains the trellis codes of src/quant/trellis_constants.cpp: for each number of bits and window
// the mixing matrix and the 64 levels that have the least squared error on a normal source.
//
//   cmake --build build/release --target train_trellis
//   build/release/tools/train_trellis > src/quant/trellis_constants.cpp     (one thread, a minute)
//   clang-format -i src/quant/trellis_constants.cpp
//
// Of `kMatrices` random invertible matrices, each trained a little on few tiles, the best are
// trained longer on more, and the best of those on other tiles wins. A round encodes all tiles with
// the levels as int8, then moves each level to the mean of the numbers that got its index, as in
// Lloyd's algorithm, and sorts them. Some last rounds do so with levels that are multiples of
// kLevelStep.
// The errors on tiles that no training saw go to the error stream. The same seed makes the same
// file on every machine.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "base/rng.h"
#include "quant/trellis_encoder.h"

namespace twofold {
namespace {

constexpr int kMatrices = 300, kFirstTiles = 24, kFirstRounds = 3;
constexpr size_t kSecond = 16, kThird = 2;
constexpr int kSecondTiles = 100, kSecondRounds = 4;
constexpr int kThirdTiles = 800, kThirdRounds = 8;
constexpr int kJudgeTiles = 1000;
constexpr int kLastRounds = 5;
/// Of final levels, so that kernels for instruction sets without dot products of bytes can add two
/// pairs of products in 16 bits. With the last rounds the error for windows of 12 bits is at most
/// 0.2 % above that of free levels without these rounds.
constexpr int kLevelStep = 4;

using Tiles = std::vector<std::array<float, kTrellisSteps>>;

Tiles normal_tiles(int count, std::string_view key) {
  Rng rng(1, key);
  Tiles tiles(static_cast<size_t>(count));
  for (auto& tile : tiles) {
    for (float& x : tile) x = static_cast<float>(rng.normal());
  }
  return tiles;
}

struct Candidate {
  TrellisMixing mixing{};
  std::array<double, kTrellisLevels> levels{};  // for a source of variance 1, increasing
  int level_step = 1;                           // int8 levels are multiples of it
  double error = 0;                             // mean squared error at the last encoding
};

bool invertible(TrellisMixing rows) {
  for (int bit = 0; bit < kTrellisIndexBits; ++bit) {
    const auto pivot = std::find_if(rows.begin() + bit, rows.end(),
                                    [&](uint8_t row) { return (row >> bit & 1) != 0; });
    if (pivot == rows.end()) return false;
    std::swap(*pivot, rows[static_cast<size_t>(bit)]);
    const uint8_t row = rows[static_cast<size_t>(bit)];
    for (int other = 0; other < kTrellisIndexBits; ++other) {
      uint8_t& changed = rows[static_cast<size_t>(other)];
      if (other != bit && (changed >> bit & 1) != 0) changed ^= row;
    }
  }
  return true;
}

Candidate random_candidate(Rng& rng) {
  Candidate candidate;
  do {
    for (uint8_t& row : candidate.mixing) row = static_cast<uint8_t>(rng.below(kTrellisLevels));
  } while (!invertible(candidate.mixing));
  // The middles of 64 equal parts of a large normal sample.
  Rng sample(2, "levels");
  std::vector<double> numbers(kTrellisLevels * 255);
  for (double& x : numbers) x = sample.normal();
  std::sort(numbers.begin(), numbers.end());
  for (size_t i = 0; i < kTrellisLevels; ++i) candidate.levels[i] = numbers[i * 255 + 127];
  return candidate;
}

TrellisCode code_of(const Candidate& candidate, int bits, int window) {
  TrellisCode code{.bits = bits, .window = window, .mixing = candidate.mixing};
  double largest = 0;
  for (double level : candidate.levels) largest = std::max(largest, std::fabs(level));
  const int step = candidate.level_step;
  code.unit = largest / (INT8_MAX / step * step);
  for (size_t i = 0; i < code.levels.size(); ++i) {
    code.levels[i] =
        static_cast<int8_t>(step * std::lround(candidate.levels[i] / code.unit / step));
  }
  return code;
}

/// Encodes `tiles` [0, count), takes the error, and moves the levels if asked to.
void encode(Candidate& candidate, int bits, int window, const Tiles& tiles, bool move) {
  const TrellisCode code = code_of(candidate, bits, window);
  const TrellisEncoder encoder(code, select_isa());
  TrellisWorkspace workspace;
  std::array<double, kTrellisLevels> sum{};
  std::array<int64_t, kTrellisLevels> count{};
  double error = 0;
  for (const auto& tile : tiles) {
    TrellisTarget target{};
    for (size_t i = 0; i < tile.size(); ++i) {
      target.value[i] = tile[i] / static_cast<float>(code.unit);
    }
    const TrellisTile windows = encoder.encode(target, TrellisEnds::kTwoPasses, workspace);
    for (size_t i = 0; i < tile.size(); ++i) {
      const auto index = static_cast<size_t>(trellis_index(code.mixing, windows[i]));
      const double e = tile[i] - code.levels[index] * code.unit;
      error += e * e;
      sum[index] += tile[i];
      ++count[index];
    }
  }
  candidate.error = error / static_cast<double>(tiles.size() * kTrellisSteps);
  if (!move) return;
  for (size_t i = 0; i < sum.size(); ++i) {
    if (count[i] > 0) candidate.levels[i] = sum[i] / static_cast<double>(count[i]);
  }
  std::sort(candidate.levels.begin(), candidate.levels.end());
}

/// Trains all, judges them on `judge`, and keeps the best.
void train(std::vector<Candidate>& all, int bits, int window, const Tiles& tiles, int rounds,
           const Tiles& judge, size_t kept) {
  for (Candidate& candidate : all) {
    for (int round = 0; round < rounds; ++round) encode(candidate, bits, window, tiles, true);
    encode(candidate, bits, window, judge, false);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Candidate& a, const Candidate& b) { return a.error < b.error; });
  all.resize(std::min(kept, all.size()));
}

TrellisCode trained(int bits, int window) {
  Rng rng(static_cast<uint64_t>(bits), "matrices");
  std::vector<Candidate> all;
  for (int i = 0; i < kMatrices; ++i) all.push_back(random_candidate(rng));
  const Tiles first = normal_tiles(kFirstTiles, "first");
  train(all, bits, window, first, kFirstRounds, first, kSecond);
  train(all, bits, window, normal_tiles(kSecondTiles, "second"), kSecondRounds,
        normal_tiles(kSecondTiles, "second judge"), kThird);
  train(all, bits, window, normal_tiles(kThirdTiles, "third"), kThirdRounds,
        normal_tiles(kJudgeTiles, "judge"), 1);
  all.front().level_step = kLevelStep;
  train(all, bits, window, normal_tiles(kThirdTiles, "third"), kLastRounds,
        normal_tiles(kJudgeTiles, "judge"), 1);
  fmt::print(stderr, "{} bits, windows of {}: error {:.5f} of {} tiles\n", bits, window,
             all.front().error, kJudgeTiles);
  return code_of(all.front(), bits, window);
}

}  // namespace
}  // namespace twofold

int main() {
  using namespace twofold;
  fmt::print(
      "// Made by tools/train_trellis: see there. Levels in steps of `unit`, sorted.\n"
      "#include \"quant/trellis_code.h\"\n\n"
      "namespace twofold {{\n\n"
      "const std::array<TrellisCode, 7> kTrainedTrellisCodes = {{{{\n");
  for (const int window : {12, 6}) {
    for (int bits = 1; bits <= 4; ++bits) {
      if (!is_trellis(bits, window)) continue;
      const TrellisCode code = trained(bits, window);
      fmt::print("    {{.bits = {},\n     .window = {},\n     .mixing = {{{}}},\n     .levels = {{",
                 bits, window, fmt::join(code.mixing, ", "));
      std::vector<int> levels(code.levels.begin(), code.levels.end());
      fmt::print("{}}},\n     .unit = {:.9g}}},\n", fmt::join(levels, ", "), code.unit);
      std::fflush(stdout);
    }
  }
  fmt::print("}}}};\n\n}}  // namespace twofold\n");
  return 0;
}

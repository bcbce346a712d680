// Speed of the trellis encoder: microseconds of processor time per weight, for every instruction
// set of this processor, every code, both ways of closing a stream and the second with feedback
// inside rows, beside the squared error of a normal source of variance 1. Rounds of all variants
// alternate; medians are printed.
#include <fmt/format.h>

#include <ctime>
#include <string>
#include <vector>

#include "base/rng.h"
#include "measure.h"
#include "quant/trellis_encoder.h"

namespace twofold {
namespace {

constexpr int kRounds = 9;
constexpr size_t kTiles = 8;
constexpr int kErrorTiles = 500;

double processor_seconds() {
  timespec t = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Any: the time does not depend on the factors.
constexpr TrellisFeedback kFeedback = [] {
  TrellisFeedback feedback{};
  for (int i = 0; i < kTrellisFeedbackColumns; ++i) {
    feedback.from[i] = feedback.to[i] = 0x2000;
    feedback.weight[i] = 0x7fff;
  }
  feedback.weight_doublings = kMostWeightDoublings;
  return feedback;
}();

struct Variant {
  Isa isa;
  TrellisEnds ends;
  const TrellisFeedback* feedback;
  TrellisEncoder encoder;
  std::vector<double> times = {};
  double error = 0;
};

void bench_code(const TrellisCode& code) {
  Rng rng(1, "tiles");
  std::vector<TrellisTarget> tiles(kTiles);
  for (TrellisTarget& tile : tiles) {
    tile.padding.fill(0);
    for (float& x : tile.value) x = static_cast<float>(rng.normal() / code.unit);
  }
  std::vector<Variant> variants;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (!cpu_has(isa)) continue;
    const auto add = [&](TrellisEnds ends, const TrellisFeedback* feedback) {
      variants.push_back({isa, ends, feedback, TrellisEncoder(code, isa)});
    };
    add(TrellisEnds::kOnePass, nullptr);
    add(TrellisEnds::kTwoPasses, nullptr);
    add(TrellisEnds::kTwoPasses, &kFeedback);
  }
  TrellisWorkspace workspace;
  for (int round = 0; round < kRounds; ++round) {
    for (Variant& variant : variants) {
      const double begin = processor_seconds();
      for (TrellisTarget& tile : tiles) {
        tile.feedback = variant.feedback;
        variant.encoder.encode(tile, variant.ends, workspace);
      }
      variant.times.push_back(processor_seconds() - begin);
    }
  }
  for (Variant& variant : variants) {
    // The same streams; another error.
    if (variant.isa == Isa::kScalar || variant.feedback != nullptr) continue;
    Rng more(2, "errors");
    TrellisTarget tile{};
    for (int i = 0; i < kErrorTiles; ++i) {
      for (float& x : tile.value) x = static_cast<float>(more.normal() / code.unit);
      const TrellisTile windows = variant.encoder.encode(tile, variant.ends, workspace);
      for (size_t step = 0; step < windows.size(); ++step) {
        const double e = tile.value[step] - variant.encoder.window_levels()[windows[step]];
        variant.error += e * e;
      }
    }
    variant.error *= code.unit * code.unit / (kErrorTiles * kTrellisSteps);
  }
  std::string line = fmt::format("{} bits, windows of {:2}:", code.bits, code.window);
  for (const Variant& variant : variants) {
    line += fmt::format("  {} {} {:.3f} us", isa_name(variant.isa),
                        variant.feedback != nullptr             ? "two, feedback"
                        : variant.ends == TrellisEnds::kOnePass ? "one pass"
                                                                : "two",
                        median(variant.times) * 1e6 / (kTiles * kTrellisSteps));
    if (variant.error > 0) line += fmt::format(" ({:.5f})", variant.error);
  }
  fmt::print("{}\n", line);
}

}  // namespace
}  // namespace twofold

int main() {
  fmt::print("{}; microseconds of one processor per weight\n", twofold::cpu_name());
  for (const twofold::TrellisCode& code : twofold::kTrainedTrellisCodes) twofold::bench_code(code);
}

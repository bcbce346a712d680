#include "quant/trellis_encoder.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "quant/simd/trellis_layout.h"

namespace twofold {
namespace {

/// Steps before and after the ends of a stream that decide where these meet; half as many cost 0.4
/// % of error.
constexpr size_t kAround = 128;
static_assert(kAround % kTrellisFeedbackColumns == 0);  // a pass begins with a row

using Symbols = std::array<uint8_t, kTrellisSteps>;

int16_t in_units(float level, int bits) {
  constexpr float kMost = 0x7fff;
  return static_cast<int16_t>(
      std::nearbyint(std::clamp(level * static_cast<float>(trellis_units(bits)), -kMost, kMost)));
}

#if defined(TWOFOLD_X86_TABLES)

const TrellisPasses& passes_for(int window, Isa isa) {
  if (window != kTrellisWindow) return kTrellisPassesScalar;
  switch (isa) {
    case Isa::kScalar:
      break;
    case Isa::kAvx2:
      return kTrellisPassesAvx2;
    case Isa::kAvx512:
    case Isa::kAvx512Vnni:
    case Isa::kAmx:
      return kTrellisPassesAvx512;
  }
  return kTrellisPassesScalar;
}

#else  // other machines have the portable level only

const TrellisPasses& passes_for(int, Isa) { return kTrellisPassesScalar; }

#endif

/// The tables of trellis_body.h: of each lane the level of its index xor i, in units, [64, lanes];
/// and where the vector for each vector of branches begins.
template <int kBits>
void fill_lanes(std::span<const uint8_t> index, std::span<const int16_t> levels, int16_t* lanes,
                std::vector<uint16_t>& offsets) {
  using L = TrellisLayout<kBits>;
  for (size_t i = 0; i < kTrellisOffsets; ++i) {
    for (int lane = 0; lane < kTrellisLanes; ++lane) {
      *lanes++ = levels[i ^ index[static_cast<size_t>(L::lane_window(lane))]];
    }
  }
  for (int branch = 0; branch < (1 << kTrellisWindow) / kTrellisLanes; ++branch) {
    offsets.push_back(static_cast<uint16_t>(index[static_cast<size_t>(L::vector_window(branch))] *
                                            kTrellisLanes));
  }
}

/// The symbols of the overlap before `step` of a circular stream.
int overlap_at(const Symbols& symbols, size_t step, int bits, int window) {
  int overlap = 0;
  for (int shift = 0; shift < window - bits; shift += bits) {
    overlap |= symbols[(step + static_cast<size_t>(shift / bits)) % symbols.size()] << shift;
  }
  return overlap;
}

}  // namespace

TrellisEncoder::TrellisEncoder(const TrellisCode& code, Isa isa)
    : code_(code),
      passes_(&passes_for(code.window, isa)),
      index_(size_t{1} << code.window),
      window_levels_(index_.size()) {
  fill_trellis_indices(code.mixing, code.window, index_);
  for (size_t w = 0; w < index_.size(); ++w) window_levels_[w] = code.levels[index_[w]];
  for (size_t i = 0; i < levels_.size(); ++i) levels_[i] = in_units(code.levels[i], code.bits);
  if (passes_->lanes == 1) return;
  constexpr std::array kFill = {fill_lanes<1>, fill_lanes<2>, fill_lanes<3>, fill_lanes<4>};
  lanes_.ensure(size_t{kTrellisOffsets} * kTrellisLanes);
  kFill[static_cast<size_t>(code.bits - 1)](index_, levels_, lanes_.data(), offsets_);
}

TrellisPass TrellisEncoder::pass_template() const {
  return {.bits = code_.bits,
          .window = code_.window,
          .index = index_.data(),
          .levels = levels_.data(),
          .lanes = lanes_.data(),
          .offsets = offsets_.data(),
          .target = nullptr,
          .padding = nullptr,
          .feedback = nullptr,
          .steps = static_cast<int>(kTrellisSteps),
          .start = -1,
          .survivors = nullptr,
          .metric = nullptr};
}

TrellisTile TrellisEncoder::encode(const TrellisTarget& target, TrellisEnds ends,
                                   TrellisWorkspace& workspace) const {
  constexpr size_t kSteps = kTrellisSteps;
  workspace.survivors.ensure(kSteps * static_cast<size_t>(passes_->survivor_bytes));
  // A little more than once around, so that the circle can be entered before its first step.
  std::array<int16_t, kSteps + kAround> units;
  std::array<uint8_t, kSteps + kAround> padding;
  for (size_t step = 0; step < units.size(); ++step) {
    units[step] = in_units(target.value[step % kSteps], code_.bits);
    padding[step] = target.padding[step % kSteps];
  }
  std::array<uint16_t, 1 << 11> metric;
  const size_t overlaps = size_t{1} << (code_.window - code_.bits);
  TrellisPass pass = pass_template();
  pass.feedback = target.feedback;
  pass.survivors = workspace.survivors.data();
  pass.metric = metric.data();
  const auto run = [&](size_t from, size_t steps, int start) {
    pass.steps = static_cast<int>(steps);
    pass.target = units.data() + from;
    pass.padding = padding.data() + from;
    pass.start = start;
    passes_->run(pass);
  };
  const auto likeliest = [&] {
    return static_cast<int>(std::min_element(metric.begin(), metric.begin() + overlaps) -
                            metric.begin());
  };
  Symbols symbols;
  const bool twice = ends == TrellisEnds::kTwoPasses;
  twice ? run(kSteps - kAround, 2 * kAround, -1) : run(0, kSteps, -1);
  passes_->trace(pass, likeliest(), symbols.data());
  const int overlap = overlap_at(symbols, twice ? kAround : 0, code_.bits, code_.window);
  if (!twice) passes_->trace(pass, overlap, symbols.data());
  if (twice || overlap_at(symbols, 0, code_.bits, code_.window) != overlap) {
    run(0, kSteps, overlap);
    passes_->trace(pass, overlap, symbols.data());
  }
  // Where every way with these ends costs more than can be counted, the way may begin elsewhere.
  TrellisTile stream;
  std::copy(symbols.begin(), symbols.end(), stream.begin());
  for (int shift = 0; shift < code_.window - code_.bits; shift += code_.bits) {
    stream[static_cast<size_t>(shift / code_.bits)] =
        static_cast<uint16_t>(overlap >> shift & ((1 << code_.bits) - 1));
  }
  return trellis_windows(stream, code_.bits, code_.window);
}

}  // namespace twofold

#include "model/rope_factors.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace twofold {
namespace {

double llama3_scaled(double frequency, const RopeConfig& rope) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double original = static_cast<double>(rope.original_context);
  if (wavelength > original / rope.low_freq_factor) return frequency / rope.factor;
  if (wavelength < original / rope.high_freq_factor) return frequency;
  const double smooth = (original / wavelength - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

/// Share of pair `i` that is divided by the factor: 0 for pairs that turn more than beta_fast times
/// within the original context, 1 for those that turn less than beta_slow times.
class YarnRamp {
 public:
  explicit YarnRamp(const RopeConfig& rope) {
    low_ = pair_that_turns(rope.beta_fast, rope);
    high_ = pair_that_turns(rope.beta_slow, rope);
    if (rope.truncate) {
      low_ = std::floor(low_);
      high_ = std::ceil(high_);
    }
    low_ = std::max(low_, 0.0);
    high_ = std::min(high_, static_cast<double>(rope.dims - 1));
    if (low_ == high_) high_ += 0.001;
  }
  double at(size_t i) const {
    return std::clamp((static_cast<double>(i) - low_) / (high_ - low_), 0.0, 1.0);
  }

 private:
  static double pair_that_turns(double times, const RopeConfig& rope) {
    return static_cast<double>(rope.dims) *
           std::log(static_cast<double>(rope.original_context) / (times * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  }
  double low_, high_;
};

}  // namespace

std::vector<float> rope_frequencies(const RopeConfig& rope, bool long_sequence) {
  std::vector<float> frequencies(static_cast<size_t>(rope.dims / 2));
  const YarnRamp ramp(rope);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double frequency =
        std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(rope.dims));
    switch (rope.scaling) {
      case RopeScaling::kNone:
        break;
      case RopeScaling::kLinear:
        frequency /= rope.factor;
        break;
      case RopeScaling::kLlama3:
        frequency = llama3_scaled(frequency, rope);
        break;
      case RopeScaling::kYarn:
        frequency = frequency * (1 - ramp.at(i)) + frequency / rope.factor * ramp.at(i);
        break;
      case RopeScaling::kLongRope:
        frequency /= long_sequence ? rope.long_factors[i] : rope.short_factors[i];
        break;
    }
    frequencies[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

bool same_angles(const ModelConfig& config, int64_t a, int64_t b) {
  const auto same = [&](const RopeConfig& rope) {
    return rope.scaling != RopeScaling::kLongRope ||
           (a > rope.original_context) == (b > rope.original_context);
  };
  if (config.position != PositionKind::kRope) return true;
  return same(config.rope) && (!config.local_rope || same(*config.local_rope));
}

double longrope_attention_factor(double factor, int64_t original_context) {
  if (factor <= 1) return 1;
  return std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original_context)));
}

}  // namespace twofold

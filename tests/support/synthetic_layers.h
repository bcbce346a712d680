// Small synthetic layers with correlated inputs and a few strong channels, on which methods rank as
// they do on real ones: 48 x 192 weights, second moments for quantizing and, from fresh
// activations, for judging.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "base/rng.h"
#include "quant/second_moment.h"
#include "tensor/tensor.h"

namespace twofold::testing {

enum class WeightShape { kGaussian, kStudent };  // Student-t with 4 degrees of freedom

struct SyntheticLayer {
  static constexpr int64_t kRows = 48, kCols = 192;
  std::vector<float> weight;   // [kRows, kCols], times 0.02
  SecondMoment moment, judge;  // of 768 activations each

  Matrix<const float> matrix() const { return {weight.data(), kRows, kCols}; }
  /// tr(E H E^T) / tr(W H W^T) with the judging moment.  @param restored [kRows, kCols].
  double held_out_loss(const std::vector<float>& restored) const {
    double error = 0, energy = 0;
    std::vector<double> e(kCols), w(kCols);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < kCols; ++c) {
        const size_t i = static_cast<size_t>(r * kCols + c);
        w[static_cast<size_t>(c)] = weight[i];
        e[static_cast<size_t>(c)] = static_cast<double>(restored[i]) - weight[i];
      }
      for (size_t i = 0; i < kCols; ++i) {
        double h_e = judge.h[i * kCols + i] * e[i], h_w = judge.h[i * kCols + i] * w[i];
        for (size_t j = 0; j < i; ++j) {
          h_e += 2 * judge.h[i * kCols + j] * e[j];
          h_w += 2 * judge.h[i * kCols + j] * w[j];
        }
        error += e[i] * h_e;
        energy += w[i] * h_w;
      }
    }
    return error / energy;
  }
};

/// Activations: Gaussian factors of rank 24 with strengths k^-1/2, plus 0.3 Gaussian noise, times a
/// log-normal scale of each channel (sigma 0.6), 4 channels another 8 times.
inline SyntheticLayer synthetic_layer(uint64_t seed, WeightShape shape) {
  constexpr int64_t kRank = 24, kSamples = 768, kStrong = 4;
  constexpr int64_t kCols = SyntheticLayer::kCols;
  Rng rng(seed, "synthetic layer");
  std::vector<double> factors(static_cast<size_t>(kRank * kCols)), scale(kCols);
  for (double& factor : factors) factor = rng.normal();
  for (double& s : scale) s = std::exp(0.6 * rng.normal());
  for (int64_t found = 0; found < kStrong;) {
    // A channel is made strong once: its scale is marked by its sign meanwhile.
    double& s = scale[static_cast<size_t>(rng.below(kCols))];
    if (s < 0) continue;
    s *= -8;
    ++found;
  }
  for (double& s : scale) s = std::fabs(s);
  SyntheticLayer layer;
  const auto measure = [&](SecondMoment& moment) {
    moment = {.cols = kCols, .tokens = kSamples, .h = {}, .mean_magnitude = {}};
    moment.h.assign(kCols * kCols, 0.0);
    moment.mean_magnitude.assign(kCols, 0.0);
    std::vector<double> x(kCols);
    for (int64_t t = 0; t < kSamples; ++t) {
      for (double& value : x) value = 0.3 * rng.normal();
      for (int64_t k = 0; k < kRank; ++k) {
        const double strength = rng.normal() / std::sqrt(static_cast<double>(k + 1));
        for (int64_t j = 0; j < kCols; ++j) {
          x[static_cast<size_t>(j)] += strength * factors[static_cast<size_t>(k * kCols + j)];
        }
      }
      for (size_t j = 0; j < kCols; ++j) {
        x[j] *= scale[j];
        moment.mean_magnitude[j] += std::fabs(x[j]) / kSamples;
      }
      for (size_t i = 0; i < kCols; ++i) {
        for (size_t j = 0; j < kCols; ++j) moment.h[i * kCols + j] += x[i] * x[j] / kSamples;
      }
    }
  };
  measure(layer.moment);
  measure(layer.judge);
  layer.weight.resize(static_cast<size_t>(SyntheticLayer::kRows * kCols));
  for (float& w : layer.weight) {
    double value = rng.normal();
    if (shape == WeightShape::kStudent) {
      double squares = 0;
      for (int i = 0; i < 4; ++i) squares += std::pow(rng.normal(), 2);
      value /= std::sqrt(squares / 4);
    }
    w = static_cast<float>(0.02 * value);
  }
  return layer;
}

}  // namespace twofold::testing

#include "calib/filled_moment.h"

#include <numeric>

#include "base/error.h"

namespace twofold {
namespace {

/// x = own x + other y.
void mix(double own, std::vector<double>& x, double other, const std::vector<double>& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] = own * x[i] + other * y[i];
}

}  // namespace

bool has_few_tokens(const SecondMoment& moment) { return moment.tokens < moment.cols; }

void fill_up(SecondMoment& moment, const SecondMoment* wider) {
  if (!has_few_tokens(moment)) return;
  const auto n = static_cast<size_t>(moment.cols);
  const double own = static_cast<double>(moment.tokens) / static_cast<double>(n), other = 1 - own;
  const bool magnitudes = !moment.mean_magnitude.empty();
  if (wider != nullptr) {
    TWOFOLD_ASSERT(wider->cols == moment.cols);
    mix(own, moment.h, other, wider->h);
    if (magnitudes) mix(own, moment.mean_magnitude, other, wider->mean_magnitude);
    return;
  }
  double trace = 0;
  for (size_t j = 0; j < n; ++j) trace += moment.h[j * n + j];
  const double size = trace > 0 ? trace / static_cast<double>(n) : 1;
  for (double& x : moment.h) x *= own;
  for (size_t j = 0; j < n; ++j) moment.h[j * n + j] += other * size;
  if (!magnitudes) return;
  std::vector<double>& m = moment.mean_magnitude;
  const double sum = std::accumulate(m.begin(), m.end(), 0.0);
  mix(own, m, other, std::vector<double>(n, sum > 0 ? sum / static_cast<double>(n) : 1));
}

}  // namespace twofold

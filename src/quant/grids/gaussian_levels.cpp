#include "quant/grids/gaussian_levels.h"

#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace twofold {
namespace {

constexpr int kLeastBits = 2, kMostBits = 6;

/// Mean of a standard normal number given that it lies in [a, b), 0 <= a < b.
double normal_mean(double a, double b) {
  constexpr double kSqrtHalf = 0.70710678118654752440;
  constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
  const double density = std::exp(-a * a / 2) - std::exp(-b * b / 2);
  return kSqrtTwoOverPi * density / (std::erfc(a * kSqrtHalf) - std::erfc(b * kSqrtHalf));
}

/// Lloyd's iteration for the positive half: each level becomes the mean of the numbers nearest to
/// it. It contracts slowly with many levels, so it runs until nothing moves by 1e-10.
std::vector<double> lloyd_max(int bits) {
  const size_t half = size_t{1} << (bits - 1);
  std::vector<double> level(half);
  for (size_t i = 0; i < half; ++i) {
    level[i] = (static_cast<double>(i) + 0.5) * 4 / static_cast<double>(half);
  }
  for (double moved = 1; moved > 1e-10;) {
    moved = 0;
    double begin = 0;
    for (size_t i = 0; i < half; ++i) {
      const double end =
          i + 1 < half ? (level[i] + level[i + 1]) / 2 : std::numeric_limits<double>::infinity();
      const double mean = normal_mean(begin, end);
      moved = std::max(moved, std::fabs(mean - level[i]));
      level[i] = mean;
      begin = end;
    }
  }
  std::vector<double> levels;
  for (size_t i = half; i-- > 0;) levels.push_back(-level[i]);
  levels.insert(levels.end(), level.begin(), level.end());
  return levels;
}

}  // namespace

const std::vector<double>& gaussian_levels(int bits) {
  TWOFOLD_ASSERT(bits >= kLeastBits && bits <= kMostBits);
  static const std::array kLevels = {lloyd_max(2), lloyd_max(3), lloyd_max(4), lloyd_max(5),
                                     lloyd_max(6)};
  return kLevels[static_cast<size_t>(bits - kLeastBits)];
}

}  // namespace twofold

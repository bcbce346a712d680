// The weights of one row or group in increasing order, with running sums of their importance, so
// that the error of rounding any run of neighbours to one value costs a few operations.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace twofold {

class SortedRow {
 public:
  /// @param weight     [n], finite.
  /// @param importance [n], not negative, or empty for 1 each.
  void assign(std::span<const float> weight, std::span<const float> importance) {
    pairs_.resize(weight.size());
    for (size_t i = 0; i < weight.size(); ++i) {
      pairs_[i] = {weight[i], importance.empty() ? 1.0f : importance[i]};
    }
    std::sort(pairs_.begin(), pairs_.end());
    mass_.assign(weight.size() + 1, 0.0);
    moment_.assign(weight.size() + 1, 0.0);
    energy_.assign(weight.size() + 1, 0.0);
    for (size_t i = 0; i < pairs_.size(); ++i) {
      const double x = pairs_[i].first, h = pairs_[i].second;
      mass_[i + 1] = mass_[i] + h;
      moment_[i + 1] = moment_[i] + h * x;
      energy_[i + 1] = energy_[i] + h * x * x;
    }
  }

  size_t size() const { return pairs_.size(); }
  float operator[](size_t i) const { return pairs_[i].first; }
  /// Sums of h, h x and h x^2 over [begin, end).
  double mass(size_t begin, size_t end) const { return mass_[end] - mass_[begin]; }
  double moment(size_t begin, size_t end) const { return moment_[end] - moment_[begin]; }
  double energy(size_t begin, size_t end) const { return energy_[end] - energy_[begin]; }
  /// First of [begin, end) that is not below `bound`; end if there is none.
  size_t first_at_least(double bound, size_t begin, size_t end) const {
    const auto first = pairs_.begin();
    const auto at = std::partition_point(
        first + static_cast<std::ptrdiff_t>(begin), first + static_cast<std::ptrdiff_t>(end),
        [&](const std::pair<float, float>& pair) { return pair.first < bound; });
    return static_cast<size_t>(at - first);
  }
  /// First of [0, size) above `bound`.
  size_t first_above(double bound) const {
    const auto at =
        std::partition_point(pairs_.begin(), pairs_.end(),
                             [&](const std::pair<float, float>& p) { return p.first <= bound; });
    return static_cast<size_t>(at - pairs_.begin());
  }

 private:
  std::vector<std::pair<float, float>> pairs_;  // weight, importance
  std::vector<double> mass_, moment_, energy_;  // [n + 1] each
};

}  // namespace twofold

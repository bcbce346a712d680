// The weights of one row or group in increasing order, with running sums of their importance, so
// that the error of rounding any run of neighbours to one value costs a few operations.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace twofold {

class SortedRow {
 public:
  /// @param weight     [n], finite.
  /// @param importance [n], not negative, or empty for 1 each.
  void assign(std::span<const float> weight, std::span<const float> importance);

  size_t size() const { return x_.size(); }
  float operator[](size_t i) const { return x_[i]; }
  /// Sums of h, h x and h x^2 over [begin, end).
  double mass(size_t begin, size_t end) const { return mass_[end] - mass_[begin]; }
  double moment(size_t begin, size_t end) const { return moment_[end] - moment_[begin]; }
  double energy(size_t begin, size_t end) const { return energy_[end] - energy_[begin]; }
  /// First of [begin, end) that is not below `bound`; end if there is none.
  size_t first_at_least(double bound, size_t begin, size_t end) const {
    const auto first = x_.begin();
    const auto at = std::partition_point(first + static_cast<std::ptrdiff_t>(begin),
                                         first + static_cast<std::ptrdiff_t>(end),
                                         [&](float x) { return x < bound; });
    return static_cast<size_t>(at - first);
  }
  /// First of [0, size) above `bound`.
  size_t first_above(double bound) const {
    const auto at = std::partition_point(x_.begin(), x_.end(), [&](float x) { return x <= bound; });
    return static_cast<size_t>(at - x_.begin());
  }

 private:
  std::vector<float> x_;
  std::vector<double> mass_, moment_, energy_;  // [n + 1] each
  std::vector<uint64_t> keys_, sorted_;         // scratch of `assign`
};

}  // namespace twofold

#include "quant/grids/sorted_row.h"

#include <array>
#include <bit>

namespace twofold {
namespace {

/// Unsigned numbers in the order of the floats.
uint32_t ordered_bits(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

/// Sorts by the upper 32 bits, stably, a byte at a time. @param scratch as long as keys.
void radix_sort(std::vector<uint64_t>& keys, std::vector<uint64_t>& scratch) {
  std::array<std::array<uint32_t, 256>, 4> counts = {};
  for (uint64_t key : keys) {
    for (size_t byte = 0; byte < 4; ++byte) ++counts[byte][key >> (32 + 8 * byte) & 0xff];
  }
  for (size_t byte = 0; byte < 4; ++byte) {
    uint32_t begin = 0;
    for (uint32_t& count : counts[byte]) {
      const uint32_t next = begin + count;
      count = begin;
      begin = next;
    }
    for (uint64_t key : keys) scratch[counts[byte][key >> (32 + 8 * byte) & 0xff]++] = key;
    std::swap(keys, scratch);
  }
}

}  // namespace

void SortedRow::assign(std::span<const float> weight, std::span<const float> importance) {
  const size_t n = weight.size();
  keys_.resize(n);
  sorted_.resize(n);
  for (size_t i = 0; i < n; ++i) {
    keys_[i] = static_cast<uint64_t>(ordered_bits(weight[i])) << 32 | static_cast<uint32_t>(i);
  }
  radix_sort(keys_, sorted_);
  x_.resize(n);
  mass_.assign(n + 1, 0.0);
  moment_.assign(n + 1, 0.0);
  energy_.assign(n + 1, 0.0);
  for (size_t i = 0; i < n; ++i) {
    const size_t from = keys_[i] & 0xffffffffu;
    const double x = weight[from], h = importance.empty() ? 1.0 : importance[from];
    x_[i] = weight[from];
    mass_[i + 1] = mass_[i] + h;
    moment_[i + 1] = moment_[i] + h * x;
    energy_[i + 1] = energy_[i] + h * x * x;
  }
}

}  // namespace twofold

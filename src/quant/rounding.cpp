#include "quant/rounding.h"

#include <array>

#include "base/registry.h"
#include "quant/rounding/members.h"

namespace twofold {

std::span<const Rounding> all_roundings() {
  static const std::array kRoundings = {nearest_rounding(), ldlq_rounding(), coordinate_rounding()};
  return kRoundings;
}

const Rounding& find_rounding(std::string_view name) {
  return find_entry(all_roundings(), "--rounding", name);
}

}  // namespace twofold

#include "quant/grid.h"

#include <array>

#include "base/registry.h"
#include "quant/grids/members.h"

namespace twofold {

std::span<const Grid> all_grids() {
  static const std::array kGrids = {uniform_grid(), pot_grid(), apot_grid()};
  return kGrids;
}

const Grid& find_grid(std::string_view name) { return find_entry(all_grids(), "--grid", name); }

}  // namespace twofold

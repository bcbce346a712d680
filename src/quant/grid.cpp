#include "quant/grid.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/registry.h"
#include "quant/grids/members.h"

namespace twofold {

std::span<const Grid> all_grids() {
  static const std::array kGrids = {uniform_grid(),  pot_grid(),    apot_grid(),   binary_grid(),
                                    two_step_grid(), levels_grid(), trellis_grid()};
  return kGrids;
}

void clamp_to_range(const FittedGrid& grid, int64_t col, int64_t row_begin, Matrix<float> weight) {
  TWOFOLD_ASSERT(grid.width() == 1);
  constexpr float kBeyond = 1e30f;  // grids round any finite target
  for (int64_t r = 0; r < weight.rows; ++r) {
    const float target[2] = {-kBeyond, kBeyond};
    uint16_t code[2];
    float value[2];
    grid.round(col, row_begin + r, {target, 1, 1}, {code, 1, 1}, {value, 1, 1});
    grid.round(col, row_begin + r, {target + 1, 1, 1}, {code + 1, 1, 1}, {value + 1, 1, 1});
    for (float& w : weight.row(r)) w = std::clamp(w, value[0], value[1]);
  }
}

const Grid& find_grid(std::string_view name) { return find_entry(all_grids(), "--grid", name); }

}  // namespace twofold

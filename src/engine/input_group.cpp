#include "engine/input_group.h"

#include <algorithm>

namespace twofold {

void InputGroup::find_basis() {
  one_basis = std::ranges::all_of(
      linears, [&](const auto& linear) { return linear->shares_input(*linears.front()); });
}

int64_t InputGroup::width() const {
  int64_t width = 0;
  for (const auto& linear : linears) width += linear->rows();
  return width;
}

void InputGroup::apply(Matrix<const float> x, Matrix<float> y, const Context& ctx) const {
  LinearInput shared(x, one_basis);
  int64_t column = 0;
  for (const auto& linear : linears) {
    linear->apply(shared, {y.data + column, y.rows, linear->rows(), y.stride}, ctx);
    column += linear->rows();
  }
}

bool InputWatch::show(const InputGroup& group, Matrix<const float> x) const {
  if (observer) observer(group.input, x);
  return stops_at(group);
}

}  // namespace twofold

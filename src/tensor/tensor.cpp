#include "tensor/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/checked_math.h"

namespace twofold {

std::string shape_text(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

int64_t element_count(const Shape& shape, std::string_view where) {
  int64_t count = 1;
  for (const int64_t side : shape) {
    if (side < 0) fail(ErrorCode::kCorruptFile, where, "negative side in {}", shape_text(shape));
    count = checked_mul(count, side, where);
  }
  return count;
}

}  // namespace twofold

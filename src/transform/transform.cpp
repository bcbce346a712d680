#include "transform/transform.h"

#include <array>

#include "base/registry.h"
#include "transform/members.h"

namespace twofold {

std::span<const Transform> all_transforms() {
  static const std::array kTransforms = {none_transform(), hadamard_transform(), quip_transform(),
                                         awq_transform()};
  return kTransforms;
}

const Transform& find_transform(std::string_view name) {
  return find_entry(all_transforms(), "transform", name);
}

std::unique_ptr<const PreparedTransform> prepare_transform(const TransformSpec& spec, int64_t rows,
                                                           int64_t cols) {
  return find_transform(spec.name).prepare(spec, rows, cols);
}

}  // namespace twofold

// The kernel that defines what all others compute: rows decoded one by one, sums in float64.
#include <limits>
#include <vector>

#include "kernels/select.h"

namespace twofold {
namespace {

bool accepts(const Format& /*format*/) { return true; }

void run(const MatmulArgs& args) {
  const auto& packed = *static_cast<const PackedMatrix*>(args.packed);
  std::vector<float> weight(static_cast<size_t>(packed.cols));
  for (int64_t r = args.row_begin; r < args.row_end; ++r) {
    packed.format.family->decode_row(packed, r, weight.data());
    for (int64_t i = 0; i < args.m; ++i) {
      const float* x = args.x + i * args.x_stride;
      double sum = 0;
      for (int64_t c = 0; c < packed.cols; ++c) {
        sum += static_cast<double>(x[c]) * static_cast<double>(weight[static_cast<size_t>(c)]);
      }
      args.y[i * args.y_stride + r] = static_cast<float>(sum);
    }
  }
}

}  // namespace

const Kernel& reference_kernel() {
  static const Kernel kKernel = {.name = "reference",
                                 .isa = Isa::kScalar,
                                 .max_m = std::numeric_limits<int64_t>::max(),
                                 .selectable = false,
                                 .accepts = accepts,
                                 .run = run};
  return kKernel;
}

}  // namespace twofold

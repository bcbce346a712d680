#include <vector>

#include "kernels/select.h"

namespace twofold {

void reference_product(const PackedMatrix& packed, Matrix<const float> x, Matrix<float> y) {
  std::vector<float> weight(static_cast<size_t>(packed.cols));
  for (int64_t r = 0; r < packed.rows; ++r) {
    packed.format.family->decode_row(packed, r, weight.data());
    for (int64_t i = 0; i < x.rows; ++i) {
      double sum = 0;
      for (size_t c = 0; c < weight.size(); ++c) {
        sum += static_cast<double>(x.row(i)[c]) * static_cast<double>(weight[c]);
      }
      y.row(i)[static_cast<size_t>(r)] = static_cast<float>(sum);
    }
  }
}

}  // namespace twofold

// The law of kernels: every kernel on every format it accepts equals the float64 product within a
// derived bound, whatever rows and activations it is given.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/select.h"
#include "support/matrices.h"

namespace twofold {
namespace {

std::vector<std::string> all_names() {
  std::vector<std::string> names;
  for (const FormatFamily& family : all_format_families()) {
    for (std::string& name : family.example_names()) names.push_back(std::move(name));
  }
  return names;
}

PackedMatrix random_packed(const std::string& name, int64_t rows, int64_t cols) {
  const Format format = parse_format(name);
  if (!format.is_dense()) return pack(testing::random_quantized(format.scheme, rows, cols, name));
  const std::vector<float> weight = testing::normal_numbers(rows * cols, 0.1, name);
  return pack_dense(format, {weight.data(), rows, cols});
}

class KernelLaw : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Formats, KernelLaw, ::testing::ValuesIn(all_names()));

// Float kernels: each of the n products and n additions rounds to float32 (2^-24 relative to the
// sum of magnitudes) at worst, the result once more: (n + 2) 2^-23 sum |x w| covers them twofold.
TEST_P(KernelLaw, EqualsTheFloat64Product) {
  const int64_t rows = 37, cols = 101, m = 3, x_stride = cols + 5, y_stride = rows + 2;
  const PackedMatrix packed = random_packed(GetParam(), rows, cols);
  const std::vector<float> x = testing::normal_numbers(m * x_stride, 1, "x");
  std::vector<float> weight(static_cast<size_t>(rows * cols));
  make_row_source(packed)->decode_rows(0, rows, weight.data(), cols);
  for (const Kernel& kernel : all_kernels()) {
    if (!kernel.accepts(packed.format) || !cpu_has(kernel.isa) || kernel.max_m < m) continue;
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, rows}, {16, 32}, {32, rows}}) {
      std::vector<float> y(static_cast<size_t>(m * y_stride), 7.0f);
      kernel.run({.packed = &packed,
                  .x = x.data(),
                  .x_stride = x_stride,
                  .y = y.data(),
                  .y_stride = y_stride,
                  .m = m,
                  .row_begin = begin,
                  .row_end = end});
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t r = 0; r < y_stride; ++r) {
          const float found = y[static_cast<size_t>(i * y_stride + r)];
          if (r < begin || r >= end) {
            ASSERT_EQ(found, 7.0f) << kernel.name << " wrote beyond its rows";
            continue;
          }
          double sum = 0, magnitude = 0;
          for (int64_t c = 0; c < cols; ++c) {
            const double product = static_cast<double>(x[static_cast<size_t>(i * x_stride + c)]) *
                                   weight[static_cast<size_t>(r * cols + c)];
            sum += product;
            magnitude += std::fabs(product);
          }
          ASSERT_NEAR(found, sum, static_cast<double>(cols + 2) * 0x1p-23 * magnitude)
              << kernel.name << " row " << r;
        }
      }
    }
  }
}

TEST(SelectKernel, NeverOffersTheReferenceNorMoreThanTheLimit) {
  for (const std::string& name : all_names()) {
    const Format format = parse_format(name);
    for (Isa limit : all_isas()) {
      for (int64_t m : {1, 2, 8, 512}) {
        const Kernel* kernel = select_kernel(format, m, limit);
        if (kernel == nullptr) continue;
        EXPECT_NE(kernel->name, reference_kernel().name);
        EXPECT_LE(kernel->isa, limit);
        EXPECT_LE(m, kernel->max_m);
        EXPECT_TRUE(kernel->accepts(format));
      }
    }
  }
}

}  // namespace
}  // namespace twofold

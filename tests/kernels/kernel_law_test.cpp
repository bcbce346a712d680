// The laws of kernels. The integer kernel in plain C++ equals the float64 product of the numbers
// that weights and activations stand for, within a derived bound; every other kernel equals it bit
// for bit, whatever the shape, the number of rows and the cut of the work.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/int8_activations.h"
#include "kernels/packed_view.h"
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

/// Those that integer kernels can exist for, with other cuts into groups than the examples.
std::vector<std::string> integer_names() {
  std::vector<std::string> names = all_names();
  std::erase_if(names, [](const std::string& name) { return !weight_kind(parse_format(name)); });
  constexpr std::array kOtherGroups = {"-g64", "-g128", "-g256"};
  const size_t examples = names.size();
  for (size_t i = 0, other = 0; i < examples; ++i) {
    const size_t group = names[i].find("-g32");
    if (group == std::string::npos) continue;
    names.push_back(names[i].substr(0, group) + kOtherGroups[other++ % kOtherGroups.size()]);
  }
  return names;
}

/// What activations are rounded for, so that every kernel of this CPU can read them.
Isa best_isa() {
  Isa best = Isa::kScalar;
  for (const Isa isa : all_isas()) {
    if (cpu_has(isa)) best = isa;
  }
  return best;
}

struct Shape {
  int64_t rows, cols;
};
// One row and column; sides of real models that no tile divides; short last groups.
constexpr Shape kShapes[] = {{1, 1}, {37, 101}, {48, 172}, {18, 576}, {33, 640}, {17, 1184}};

std::vector<float> product(const PackedView& view, const Kernel& kernel, Int8Activations& x,
                           int64_t y_stride, std::span<const int64_t> cuts) {
  std::vector<float> y(static_cast<size_t>(x.rows() * y_stride), 7.0f);
  const size_t scratch_bytes = kernel.scratch_bytes == nullptr
                                   ? 0
                                   : static_cast<size_t>(kernel.scratch_bytes(view, x.rows()));
  AlignedBuffer<uint8_t> scratch(scratch_bytes);
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    kernel.run({.weights = &view,
                .x = x.cut(view.group),
                .m = x.rows(),
                .y = y.data(),
                .y_stride = y_stride,
                .block_begin = cuts[i],
                .block_end = cuts[i + 1],
                .scratch = scratch.data()});
  }
  return y;
}

/// Sum over the columns of |scale x (u - bias)| + |shift x|, what the bound is relative to.
double magnitude(const QuantizedMatrix& q, int64_t row, Matrix<const float> x, int64_t i,
                 double bias) {
  double sum = 0;
  for (int64_t c = 0; c < q.cols; ++c) {
    const auto set = static_cast<size_t>(q.parameter_index(q.scheme.scale_sharing, row, c));
    const size_t code = q.codes[static_cast<size_t>(row * q.cols + c)];
    double value = 0;
    if (q.scheme.kind == ValueKind::kAffine) {
      const double zero =
          zero_is_stored(q.scheme.zero) ? q.zero[set] : fixed_zero(q.scheme.zero, q.scheme.bits);
      value = std::fabs(q.scale[set]) *
              (std::fabs(static_cast<double>(code) - bias) + std::fabs(zero - bias));
    } else {
      const auto table = static_cast<size_t>(q.parameter_index(q.scheme.table_sharing, row, c));
      const size_t entry =
          q.scheme.kind == ValueKind::kTrellis
              ? static_cast<size_t>(trellis_index(q.mixing, static_cast<uint32_t>(code)))
              : (table << q.scheme.bits) + code;
      const double level = std::ldexp(q.levels[entry], q.scheme.level_exponent);
      value =
          std::fabs(q.scale[set] * level) + (q.scheme.has_offset ? std::fabs(q.offset[set]) : 0);
    }
    sum += value * std::fabs(x.row(i)[static_cast<size_t>(c)]);
  }
  return sum;
}

PackedMatrix random_packed(const std::string& name, Shape shape) {
  return pack(testing::random_quantized(parse_format(name).scheme, shape.rows, shape.cols, name));
}

class KernelLaw : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Formats, KernelLaw, ::testing::ValuesIn(integer_names()));

// Integer sums are exact. Each segment is converted and added with two roundings at most, each
// group adds three, its parameters carry two more, and the values compared with are rounded twice.
TEST_P(KernelLaw, ScalarEqualsTheFloat64Product) {
  ThreadPool pool(1, false);
  for (const Shape shape : kShapes) {
    const PackedMatrix packed = random_packed(GetParam(), shape);
    const PackedView view = packed_view(packed);
    const std::vector<float> x = testing::normal_numbers(2 * shape.cols, 1, "x");
    Int8Activations rounded({x.data(), 2, shape.cols}, {kActivationBlock}, best_isa(), pool);
    std::vector<float> used(x.size()), expected(static_cast<size_t>(2 * shape.rows));
    rounded.dequantize({used.data(), 2, shape.cols});
    reference_product(packed, {used.data(), 2, shape.cols}, {expected.data(), 2, shape.rows});
    const int64_t cuts[] = {0, view.blocks};
    const std::vector<float> y = product(view, *all_kernels().front(), rounded, shape.rows, cuts);
    const QuantizedMatrix q = unpack(packed);
    const double roundings =
        static_cast<double>(2 * rounded.cut(view.group).segments + 3 * view.groups + 6);
    for (int64_t i = 0; i < 2; ++i) {
      for (int64_t r = 0; r < shape.rows; ++r) {
        const double bound =
            roundings * 0x1p-24 * magnitude(q, r, {used.data(), 2, shape.cols}, i, view.bias) +
            1e-37;
        const auto at = static_cast<size_t>(i * shape.rows + r);
        ASSERT_NEAR(y[at], expected[at], bound)
            << shape.rows << " x " << shape.cols << " row " << r;
      }
    }
  }
}

TEST_P(KernelLaw, EveryKernelEqualsTheScalarOne) {
  const Format format = parse_format(GetParam());
  ThreadPool pool(1, false);
  for (const Shape shape : kShapes) {
    const PackedMatrix packed = random_packed(GetParam(), shape);
    PackedView view = packed_view(packed);
    for (const int64_t m : {1, 2, 3, 4, 5, 13, 16, 40}) {
      for (const int64_t block : {int64_t{32}, kActivationBlock}) {
        const std::vector<float> x = testing::normal_numbers(m * shape.cols, 1, "x");
        Int8Activations rounded({x.data(), m, shape.cols}, {block}, best_isa(), pool);
        const int64_t y_stride = shape.rows + 3;
        const int64_t whole[] = {0, view.blocks};
        const std::vector<float> expected =
            product(view, *all_kernels().front(), rounded, y_stride, whole);
        const std::vector<int64_t> parts = {0, view.blocks / 2, view.blocks};
        for (const Kernel* kernel : kernels_of(format)) {
          if (!cpu_has(kernel->isa) || m < kernel->min_m) continue;
          for (view.streams = 1; view.streams <= 2; ++view.streams) {
            ASSERT_EQ(product(view, *kernel, rounded, y_stride, parts), expected)
                << kernel->name << ' ' << shape.rows << " x " << shape.cols << ", m " << m
                << ", blocks of " << block << ", streams " << view.streams;
          }
        }
      }
    }
  }
}

// More rows of activations and of weights than a kernel keeps results of at a time.
TEST(ManyRows, EveryKernelEqualsTheScalarOne) {
  ThreadPool pool(1, false);
  for (const char* name : {"r16-u4-g128", "r16-u2-g32", "r16-t4", "r16-t5w", "r16-tr3"}) {
    const Format format = parse_format(name);
    const Shape shape = {300, 320};
    const int64_t m = 533;
    const PackedMatrix packed = random_packed(name, shape);
    const PackedView view = packed_view(packed);
    const std::vector<float> x = testing::normal_numbers(m * shape.cols, 1, "x");
    Int8Activations rounded({x.data(), m, shape.cols}, {kActivationBlock}, best_isa(), pool);
    const int64_t whole[] = {0, view.blocks};
    const std::vector<float> expected =
        product(view, *all_kernels().front(), rounded, shape.rows, whole);
    for (const Kernel* kernel : kernels_of(format)) {
      if (!cpu_has(kernel->isa) || kernel->max_m < m) continue;
      ASSERT_EQ(product(view, *kernel, rounded, shape.rows, whole), expected)
          << kernel->name << ' ' << name;
    }
  }
}

TEST(BlocksPerItem, AreEvenAndLeaveWorkForAllThreads) {
  for (const Kernel* kernel : all_kernels()) {
    for (const int64_t blocks : {1, 3, 16, 128, 2000}) {
      for (const int threads : {1, 2, 16}) {
        const int64_t each = blocks_per_item(*kernel, blocks, threads);
        EXPECT_EQ(each % 2, 0);
        EXPECT_GE(each, 2);
        EXPECT_LE(each, std::max<int64_t>(2, kernel->most_blocks));
        if (each > 2) {
          EXPECT_GE(blocks / each, threads) << kernel->name << " " << blocks;
        }
      }
    }
  }
}

// All codes at the top and all activations at +-127: nothing may saturate or overflow.
TEST_P(KernelLaw, ExtremesDoNotSaturate) {
  const Format format = parse_format(GetParam());
  ThreadPool pool(1, false);
  QuantizedMatrix q = testing::random_quantized(format.scheme, 16, 640, GetParam());
  for (uint16_t& code : q.codes) code = static_cast<uint16_t>((1u << q.scheme.bits) - 1);
  if (q.scheme.kind == ValueKind::kTrellis) link_symbols(q);
  if (q.scheme.kind != ValueKind::kAffine && !q.scheme.planes) {
    const float top = q.scheme.level_type == LevelType::kInt8 ? 127 : 32767;
    for (float& level : q.levels) level = top;
  }
  const PackedMatrix packed = pack(q);
  const PackedView view = packed_view(packed);
  for (const float sign : {1.0f, -1.0f}) {
    const std::vector<float> x(static_cast<size_t>(20 * 640), 127 * sign);
    Int8Activations rounded({x.data(), 20, 640}, {kActivationBlock}, best_isa(), pool);
    std::vector<float> expected(20 * 16);
    reference_product(packed, {x.data(), 20, 640}, {expected.data(), 20, 16});
    const int64_t whole[] = {0, view.blocks};
    for (const Kernel* kernel : kernels_of(format)) {
      if (!cpu_has(kernel->isa)) continue;
      const std::vector<float> y = product(view, *kernel, rounded, 16, whole);
      for (int64_t r = 0; r < 16; ++r) {
        const double scale = magnitude(q, r, {x.data(), 20, 640}, 0, view.bias);
        ASSERT_NEAR(y[static_cast<size_t>(r)], expected[static_cast<size_t>(r)], 1e-5 * scale)
            << kernel->name << " row " << r;
      }
    }
  }
}

/// Of format `name`, half of the codes the highest. The levels are `lowest`, one `unit` above it,
/// and from then on `span` units above it.
QuantizedMatrix far_levels(const std::string& name, int64_t rows, int64_t cols, int lowest,
                           int unit, int span) {
  QuantizedMatrix q = testing::random_quantized(parse_format(name).scheme, rows, cols, name);
  const auto level = [&](int steps) { return static_cast<float>(lowest + unit * steps); };
  q.levels.assign(q.levels.size(), level(span));
  q.levels[0] = level(0);
  if (span > 1) q.levels[1] = level(1);
  const auto last = static_cast<uint16_t>((1u << q.scheme.bits) - 1);
  for (uint16_t& code : q.codes) code &= last;
  std::fill_n(q.codes.begin(), q.codes.size() / 2, last);
  if (q.scheme.kind == ValueKind::kTrellis) link_symbols(q);
  return q;
}

// Kernels may add products of close levels in 16 bits, less the lowest and divided by what divides
// all differences: levels that span just what fits and one more, at both ends of int8, with
// activations that make the sums as large as they get.
TEST(KernelLimits, LevelsOfEverySpanDoNotSaturate) {
  ThreadPool pool(1, false);
  constexpr int64_t kRows = 20, kCols = 96, kTokens = 13;
  for (const char* name : {"r16-t2", "r16-t3", "r16-t4", "r16-t5", "r16-t6", "r16-t7", "r16-t8",
                           "r16-tr2", "r16-tr3s"}) {
    const Format format = parse_format(name);
    for (const int unit : {1, 3, 4}) {
      for (const int span : {0, 15, 16, 17, 32, 33, 63, 64, 65, 85, 128, 129, 130, 255}) {
        if (unit * span > 255) continue;
        for (const int lowest : {-128, 127 - unit * span}) {
          const PackedMatrix packed = pack(far_levels(name, kRows, kCols, lowest, unit, span));
          const PackedView view = packed_view(packed);
          const int64_t whole[] = {0, view.blocks};
          for (const float sign : {1.0f, -1.0f}) {
            const std::vector<float> x(static_cast<size_t>(kTokens * kCols), 127 * sign);
            Int8Activations rounded({x.data(), kTokens, kCols}, {kActivationBlock}, best_isa(),
                                    pool);
            const std::vector<float> expected =
                product(view, *all_kernels().front(), rounded, kRows, whole);
            for (const Kernel* kernel : kernels_of(format)) {
              if (!cpu_has(kernel->isa)) continue;
              ASSERT_EQ(product(view, *kernel, rounded, kRows, whole), expected)
                  << kernel->name << ", levels " << lowest << " to " << lowest + unit * span;
            }
          }
        }
      }
    }
  }
}

TEST(WeightKind, IsNothingForWhatHasNoIntegers) {
  for (const char* name : {"f32", "bf16", "r16-t4f", "r16-rt7", "r16-u4-g48", "r16-u4-g192"}) {
    EXPECT_FALSE(weight_kind(parse_format(name))) << name;
  }
}

TEST(SelectKernel, KeepsToItsLimits) {
  for (const std::string& name : all_names()) {
    const Format format = parse_format(name);
    for (Isa limit : all_isas()) {
      for (int64_t m : {1, 2, 8, 512}) {
        const Kernel* kernel = select_kernel(format, m, limit);
        if (kernel == nullptr) continue;
        EXPECT_LE(kernel->isa, limit);
        EXPECT_GE(m, kernel->min_m);
        EXPECT_LE(m, kernel->max_m);
        EXPECT_TRUE(kernel->accepts(*weight_kind(format)));
      }
    }
  }
}

// Every level that has kernels of its own uses them, for one row and for many.
TEST(SelectKernel, GivesEachX86LevelItsOwnKernel) {
#if !defined(__x86_64__)
  GTEST_SKIP() << "other machines have the portable kernel only";
#endif
  for (const char* name :
       {"r16-u2-g128", "r16-u3-g128", "r16-u4", "r16-s8-g128", "r16-t4", "r16-rt2", "r16-rt3",
        "r16-tr1", "r16-tr2", "r16-tr3", "r16-tr4", "r16-tr2s"}) {
    const Format format = parse_format(name);
    for (const Isa limit : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni}) {
      for (const int64_t m : {1, 4, 5, 512}) {
        const Kernel* kernel = select_kernel(format, m, limit);
        ASSERT_NE(kernel, nullptr) << name;
        EXPECT_EQ(kernel->isa, limit) << name << ", " << m << " rows: " << kernel->name;
      }
    }
  }
}

class RowRounding : public ::testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, RowRounding,
                         ::testing::ValuesIn(all_isas().begin(), all_isas().end()));

TEST_P(RowRounding, EqualsTheScalarOne) {
  if (!cpu_has(GetParam())) GTEST_SKIP() << "this CPU lacks it";
  for (const int64_t n : {1, 31, 32, 33, 100, 128, 172, 576, 1000}) {
    for (const int64_t block : {32, 64, 128}) {
      std::vector<float> x = testing::normal_numbers(n, 3, "x");
      if (n > 200) {
        x[7] = std::numeric_limits<float>::quiet_NaN();
        x[190] = -std::numeric_limits<float>::infinity();
        std::fill(x.begin() + 128, x.begin() + 160, 0.0f);
      }
      const auto run = [&](Isa isa) {
        alignas(64) int8_t values[1024];
        std::vector<float> scales(32);
        std::vector<int32_t> sums(32);
        select_row_rounding(isa)(x.data(), n, block, values, scales.data(), sums.data());
        std::vector<uint32_t> all;
        for (const float scale : scales)
          all.push_back(std::isnan(scale) ? 1u : std::bit_cast<uint32_t>(scale));
        all.insert(all.end(), sums.begin(), sums.end());
        all.insert(all.end(), values,
                   values + (n + kInt8Padding - 1) / kInt8Padding * kInt8Padding);
        return all;
      };
      EXPECT_EQ(run(GetParam()), run(Isa::kScalar)) << n << " in blocks of " << block;
    }
  }
}

}  // namespace
}  // namespace twofold

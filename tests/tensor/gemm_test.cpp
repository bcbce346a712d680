#include "tensor/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/float16.h"
#include "tensor/dense_source.h"
#include "tensor/product_bound.h"
#include "tensor/random_matrix.h"

namespace twofold {
namespace {

using Bound = double (*)(const ProductSum& sum);
// What `matmul` promises for this many rows of x.
Bound matmul_bound(Isa isa, int64_t rows) {
  return isa == Isa::kAmx && rows >= kGemmMinRows ? split_bound : register_bound;
}

void expect_near_double_product(Matrix<const float> x, Matrix<const float> w,
                                Matrix<const float> before, Matrix<const float> y, Bound bound) {
  for (int64_t i = 0; i < y.rows; ++i) {
    for (int64_t j = 0; j < y.cols; ++j) {
      ProductSum sum;
      if (before.data != nullptr) sum.start(double{before.at(i, j)});
      for (int64_t k = 0; k < x.cols; ++k) sum.add(double{x.at(i, k)}, double{w.at(j, k)});
      ASSERT_NEAR(double{y.at(i, j)}, sum.value, bound(sum)) << i << ", " << j;
    }
  }
}

// Hides that rows lie in memory, as a packed format would, and checks what it is asked for.
class HiddenSource final : public RowSource {
 public:
  explicit HiddenSource(const RowSource& source) : source_(source) {}
  int64_t rows() const override { return source_.rows(); }
  int64_t cols() const override { return source_.cols(); }
  void decode_rows(int64_t begin, int64_t count, float* out, int64_t stride) const override {
    ASSERT_GE(begin, 0);
    ASSERT_LE(begin + count, rows());
    ASSERT_GE(stride, cols());
    source_.decode_rows(begin, count, out, stride);
  }

 private:
  const RowSource& source_;
};

class Gemm : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, Gemm, testing::ValuesIn(usable_isas()),
                         [](const auto& row) { return std::string(isa_name(row.param)); });

struct Sides {
  int64_t rows, cols, depth;
};
std::vector<Sides> odd_sides() {
  std::vector<Sides> sides;
  for (int64_t rows = 0; rows <= 30; ++rows) sides.push_back({rows, 37, 65});
  for (const int64_t cols : {0, 1, 7, 8, 16, 31, 32, 33, 100}) sides.push_back({13, cols, 70});
  for (const int64_t depth : {0, 1, 2, 15, 16, 17, 64, 256, 319, 321, 700}) {
    sides.push_back({9, 40, depth});
    sides.push_back({3, 40, depth});
  }
  sides.push_back({300, 130, 512});
  sides.push_back({1030, 20, 33});
  return sides;
}

TEST_P(Gemm, MatmulEqualsDoubleProductWithinBound) {
  ThreadPool pool(2);
  for (const Sides& s : odd_sides()) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.cols << " x " << s.depth);
    const RandomMatrix x(s.rows, s.depth, 3, 1), w(s.cols, s.depth, 5, 2);
    const DenseSource dense(w.view, GetParam());
    const HiddenSource hidden(dense);
    for (const bool accumulate : {false, true}) {
      RandomMatrix y(s.rows, s.cols, 2, 3), y2(s.rows, s.cols, 2, 3);
      const RandomMatrix before(s.rows, s.cols, 2, 3);
      matmul(x.view, dense, y.view, pool, GetParam(), accumulate);
      const Matrix<const float> start = accumulate ? before.view : Matrix<const float>();
      expect_near_double_product(x.view, w.view, start, y.view, matmul_bound(GetParam(), s.rows));
      EXPECT_TRUE(y.gaps_untouched());
      matmul(x.view, hidden, y2.view, pool, GetParam(), accumulate);
      EXPECT_EQ(y.numbers, y2.numbers) << "decoded rows give the same sums as rows in place";
    }
  }
}

TEST_P(Gemm, SerialProductsEqualDoubleProductWithinBound) {
  for (const Sides& s : odd_sides()) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.cols << " x " << s.depth);
    const RandomMatrix x(s.rows, s.depth, 3, 1), w(s.cols, s.depth, 5, 2);
    RandomMatrix y2(s.rows, s.cols, 1, 4);
    RandomMatrix v(s.depth, s.cols, 7, 5);
    for (int64_t k = 0; k < s.depth; ++k) {
      for (int64_t j = 0; j < s.cols; ++j) v.view.at(k, j) = w.view.at(j, k);
    }
    matmul_nn_serial(x.view, v.view, y2.view, GetParam());
    expect_near_double_product(x.view, w.view, {}, y2.view, register_bound);
    EXPECT_TRUE(y2.gaps_untouched());
  }
}

TEST_P(Gemm, PanelProductsEqualDoubleProductWithinBound) {
  for (const Sides& s : odd_sides()) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.cols << " x " << s.depth);
    const int64_t cols = std::min(s.cols, kPanelCols);
    const RandomMatrix x(s.rows, s.depth, 3, 1), w(cols, s.depth, 5, 2);
    std::vector<float> panel(static_cast<size_t>(s.depth * kPanelCols), kUntouched);
    pack_panel(w.view, panel.data(), GetParam());
    RandomMatrix y(s.rows, kPanelCols, 2, 3), last(1, kPanelCols, 0, 4);
    multiply_panel(x.view, panel.data(), y.view, GetParam());
    expect_near_double_product(x.view, w.view, {}, {y.view.data, s.rows, cols, y.view.stride},
                               register_bound);
    EXPECT_TRUE(y.gaps_untouched());
    for (int64_t r = 0; r < s.rows; ++r) {
      for (int64_t c = cols; c < kPanelCols; ++c) ASSERT_EQ(y.view.at(r, c), 0.0f);
    }
    if (s.rows == 0) continue;
    multiply_panel({x.view.row(s.rows - 1).data(), 1, s.depth, x.view.stride}, panel.data(),
                   last.view, GetParam());
    EXPECT_TRUE(std::ranges::equal(last.view.row(0), y.view.row(s.rows - 1)));
  }
}

TEST_P(Gemm, StridesOfWholePagesGiveTheSameNumbers) {
  const int64_t rows = 45, cols = 70, depth = 700;
  const RandomMatrix x(rows, depth, 1024 - depth, 1), w(cols, depth, 1024 - depth, 2);
  RandomMatrix near(rows, depth, 1, 1);
  RandomMatrix y(rows, cols, 0, 3), y2(rows, cols, 1024 - cols, 3);
  ThreadPool pool(2);
  const DenseSource source(w.view, GetParam());
  matmul(x.view, source, y.view, pool, GetParam());
  matmul(near.view, source, y2.view, pool, GetParam());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) ASSERT_EQ(y.view.at(i, j), y2.view.at(i, j));
  }
  expect_near_double_product(x.view, w.view, {}, y.view, matmul_bound(GetParam(), rows));
}

TEST_P(Gemm, ThreadCountDoesNotChangeOneBit) {
  for (const Sides& s :
       {Sides{3, 333, 100}, Sides{50, 333, 700}, Sides{1100, 90, 64}, Sides{600, 70, 1400}}) {
    const RandomMatrix x(s.rows, s.depth, 0, 1), w(s.cols, s.depth, 0, 2);
    const DenseSource source(w.view, GetParam());
    std::vector<float> first;
    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      RandomMatrix y(s.rows, s.cols, 0, 3);
      matmul(x.view, source, y.view, pool, GetParam());
      if (threads == 1) first = y.numbers;
      EXPECT_EQ(y.numbers, first) << threads << " threads";
    }
  }
}

TEST_P(Gemm, RowsDoNotDependOnTheOtherRowsOfTheirBatch) {
  const int64_t depth = 700, cols = 61;
  const RandomMatrix x(1100, depth, 0, 1), w(cols, depth, 0, 2);
  const DenseSource source(w.view, GetParam());
  ThreadPool pool(2);
  RandomMatrix all(1100, cols, 0, 3);
  matmul(x.view, source, all.view, pool, GetParam());
  for (const int64_t rows : {int64_t{8}, int64_t{15}, int64_t{29}, int64_t{253}}) {
    RandomMatrix some(rows, cols, 0, 4);
    const Matrix<const float> part(x.view.data, rows, depth);
    matmul(part, source, some.view, pool, GetParam());
    for (size_t i = 0; i < some.numbers.size(); ++i) ASSERT_EQ(some.numbers[i], all.numbers[i]);
  }
}

TEST_P(Gemm, SixteenBitWeightsGiveTheProductOfTheirFloats) {
  const int64_t cols = 45, depth = 131;
  const RandomMatrix w(cols, depth, 0, 2);
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    std::vector<uint16_t> bits;
    std::vector<float> floats;
    for (const float number : w.numbers) {
      const bool half = dtype == DType::kF16;
      bits.push_back(half ? to_float16(number).bits : to_bfloat16(number).bits);
      floats.push_back(half ? to_float(Float16{bits.back()}) : to_float(BFloat16{bits.back()}));
    }
    const Tensor tensor{{dtype, {cols, depth}, std::as_bytes(std::span(bits))}, nullptr};
    const DenseSource stored(tensor, GetParam());
    const DenseSource wide(Matrix<const float>(floats.data(), cols, depth), GetParam());
    ThreadPool pool(2);
    for (const int64_t rows : {1, 3, 7, 8, 20}) {
      const RandomMatrix x(rows, depth, 0, 1);
      RandomMatrix y(rows, cols, 0, 3), y2(rows, cols, 0, 4), y3(rows, cols, 0, 5);
      matmul(x.view, stored, y.view, pool, GetParam());
      matmul(x.view, wide, y2.view, pool, GetParam());
      matmul(x.view, HiddenSource(stored), y3.view, pool, GetParam());
      EXPECT_EQ(y.numbers, y2.numbers) << rows;
      EXPECT_EQ(y.numbers, y3.numbers) << rows;
      expect_near_double_product(x.view, {floats.data(), cols, depth}, {}, y.view,
                                 matmul_bound(GetParam(), rows));
    }
  }
}

// Multiplies each number by 2^n, n evenly in [lowest, highest].
void spread(RandomMatrix& matrix, int lowest, int highest, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> exponent(lowest, highest);
  for (float& number : matrix.numbers) number = std::ldexp(number, exponent(random));
}

struct Magnitudes {
  int x_lowest, x_highest, w_lowest, w_highest;  // exponents
};

TEST_P(Gemm, MagnitudesFarApartStayWithinBound) {
  ThreadPool pool(2);
  for (const Magnitudes& m : {Magnitudes{-20, 20, -20, 20}, Magnitudes{-149, -100, -30, 100},
                              Magnitudes{-100, 40, -149, 50}, Magnitudes{-70, -55, -70, -55},
                              Magnitudes{110, 124, -149, -20}}) {
    SCOPED_TRACE(testing::Message() << m.x_lowest << " " << m.w_lowest);
    const int64_t rows = 37, cols = 45, depth = 150;
    RandomMatrix x(rows, depth, 0, 1), w(cols, depth, 0, 2), y(rows, cols, 0, 3);
    spread(x, m.x_lowest, m.x_highest, 4);
    spread(w, m.w_lowest, m.w_highest, 5);
    matmul(x.view, DenseSource(w.view, GetParam()), y.view, pool, GetParam());
    expect_near_double_product(x.view, w.view, {}, y.view, matmul_bound(GetParam(), rows));
  }
}

TEST_P(Gemm, CancellingRowsStayWithinBoundAndZerosGiveZero) {
  ThreadPool pool(2);
  const int64_t rows = 40, cols = 33, depth = 200;
  RandomMatrix x(rows, depth, 0, 1), w(cols, depth, 0, 2), y(rows, cols, 0, 3);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < depth / 2; ++k) x.view.at(r, depth - 1 - k) = x.view.at(r, k);
  }
  for (int64_t r = 0; r < cols; ++r) {
    for (int64_t k = 0; k < depth / 2; ++k) w.view.at(r, depth - 1 - k) = -w.view.at(r, k);
  }
  std::ranges::fill(x.view.row(7), 0.0f);
  std::ranges::fill(w.view.row(9), 0.0f);
  matmul(x.view, DenseSource(w.view, GetParam()), y.view, pool, GetParam());
  expect_near_double_product(x.view, w.view, {}, y.view, matmul_bound(GetParam(), rows));
  for (int64_t c = 0; c < cols; ++c) ASSERT_EQ(y.view.at(7, c), 0.0f);
  for (int64_t r = 0; r < rows; ++r) ASSERT_EQ(y.view.at(r, 9), 0.0f);
}

TEST_P(Gemm, LargestNumbersDoNotOverflow) {
  ThreadPool pool(1);
  const float largest = std::numeric_limits<float>::max();
  RandomMatrix x(9, 1, 0, 1), w(2, 1, 0, 2), y(9, 2, 0, 3);
  std::ranges::fill(x.numbers, largest);
  w.numbers = {1.0f, 0.75f};
  matmul(x.view, DenseSource(w.view, GetParam()), y.view, pool, GetParam());
  expect_near_double_product(x.view, w.view, {}, y.view, matmul_bound(GetParam(), x.view.rows));
}

TEST_P(Gemm, NumbersThatAreNotFiniteStayInTheirRowAndColumn) {
  ThreadPool pool(2);
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t rows : {8, 20, 50}) {
    const int64_t cols = 40, depth = 90;
    RandomMatrix x(rows, depth, 0, 1), w(cols, depth, 0, 2);
    RandomMatrix clean(rows, cols, 0, 3), y(rows, cols, 0, 4);
    matmul(x.view, DenseSource(w.view, GetParam()), clean.view, pool, GetParam());
    x.view.at(1, 3) = infinity;
    x.view.at(4, 89) = nan;
    x.view.at(6, 40) = -infinity;
    w.view.at(5, 17) = infinity;
    w.view.at(38, 0) = nan;
    matmul(x.view, DenseSource(w.view, GetParam()), y.view, pool, GetParam());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        if (r == 1 || r == 4 || r == 6 || c == 5 || c == 38) {
          ASSERT_FALSE(std::isfinite(y.view.at(r, c))) << r << ", " << c;
        } else {
          ASSERT_EQ(y.view.at(r, c), clean.view.at(r, c)) << r << ", " << c;
        }
      }
    }
  }
}

}  // namespace
}  // namespace twofold

#include "tensor/gram.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tensor/product_bound.h"
#include "tensor/random_matrix.h"

namespace twofold {
namespace {

class Gram : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, Gram, testing::ValuesIn(usable_isas()),
                         [](const auto& row) { return std::string(isa_name(row.param)); });

struct Sides {
  int64_t tokens, cols;
};

TEST_P(Gram, EqualsTheDoubleProductWithinBoundAboveTheDiagonalAndLeavesTheRest) {
  ThreadPool pool(2);
  for (const Sides& s : {Sides{1, 1}, Sides{5, 3}, Sides{70, 37}, Sides{255, 224}, Sides{257, 225},
                         Sides{600, 33}, Sides{40, 500}, Sides{17, 448}, Sides{9, 1200}}) {
    SCOPED_TRACE(testing::Message() << s.tokens << " tokens, " << s.cols << " columns");
    const RandomMatrix x(s.tokens, s.cols, 3, 1);
    std::vector<double> sum(static_cast<size_t>(s.cols * s.cols), 0.5);
    const Matrix<double> h(sum.data(), s.cols, s.cols);
    add_gram(x.view, h, pool, GetParam());
    for (int64_t i = 0; i < s.cols; ++i) {
      for (int64_t j = 0; j < s.cols; ++j) {
        ProductSum products;
        for (int64_t t = 0; t < s.tokens; ++t) {
          products.add(double{x.view.at(t, i)}, double{x.view.at(t, j)});
        }
        if (j < i) {
          ASSERT_EQ(h.at(i, j), 0.5) << i << ", " << j;
        } else {
          ASSERT_NEAR(h.at(i, j), 0.5 + products.value, product_bound(GetParam(), products))
              << i << ", " << j;
        }
      }
    }
  }
}

TEST_P(Gram, ThreadCountDoesNotChangeOneBit) {
  const RandomMatrix x(700, 500, 0, 1);
  std::vector<double> first;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    std::vector<double> sum(500 * 500);
    add_gram(x.view, {sum.data(), 500, 500}, pool, GetParam());
    if (threads == 1) first = sum;
    EXPECT_EQ(sum, first) << threads << " threads";
  }
}

TEST_P(Gram, NothingIsAddedForNoTokensOrNoColumns) {
  ThreadPool pool(1);
  std::vector<double> sum(9, 2.0);
  const std::vector<float> x(3);
  add_gram({x.data(), 0, 3}, {sum.data(), 3, 3}, pool, GetParam());
  add_gram({x.data(), 3, 0}, {sum.data(), 0, 0}, pool, GetParam());
  EXPECT_EQ(sum, std::vector<double>(9, 2.0));
}

}  // namespace
}  // namespace twofold

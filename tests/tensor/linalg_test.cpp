#include "tensor/linalg.h"

#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tensor/random_matrix.h"

namespace twofold {
namespace {

class Linalg : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, Linalg, testing::ValuesIn(usable_isas()),
                         [](const auto& row) { return std::string(isa_name(row.param)); });

constexpr int64_t kSides[] = {1, 2, 63, 64, 65, 130, 300};

/// [rows, cols] with `gap` untouched numbers after each row.
struct Doubles {
  Doubles(int64_t rows, int64_t cols, int64_t gap, uint32_t seed)
      : numbers(static_cast<size_t>(rows * (cols + gap)), kUntouched),
        view(numbers.data(), rows, cols, cols + gap) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    for (int64_t r = 0; r < rows; ++r) {
      for (double& number : view.row(r)) number = normal(random);
    }
  }
  Doubles(const Doubles& other)
      : numbers(other.numbers),
        view(numbers.data(), other.view.rows, other.view.cols, other.view.stride) {}
  Doubles& operator=(const Doubles&) = delete;

  bool gaps_untouched() const {
    for (int64_t r = 0; r < view.rows; ++r) {
      for (int64_t c = view.cols; c < view.stride; ++c) {
        if (view.data[r * view.stride + c] != kUntouched) return false;
      }
    }
    return true;
  }

  std::vector<double> numbers;
  Matrix<double> view;
};

/// X X^T + n I / 10, of which what is above the diagonal is not a number.
Doubles positive_definite(int64_t n, int64_t gap, uint32_t seed) {
  const Doubles x(n, n, 0, seed);
  Doubles h(n, n, gap, seed);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = i == j ? 0.1 * static_cast<double>(n) : 0.0;
      for (int64_t k = 0; k < n; ++k) sum += x.view.at(i, k) * x.view.at(j, k);
      h.view.at(i, j) = j > i ? NAN : sum;
    }
  }
  return h;
}

/// Lower triangular with a diagonal of at least 1; what is above is not a number.
Doubles lower_triangle(int64_t n, int64_t gap, uint32_t seed) {
  Doubles l(n, n, gap, seed);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double& entry = l.view.at(i, j);
      if (j > i) entry = NAN;
      if (j < i) entry /= std::sqrt(static_cast<double>(n));
      if (j == i) entry = 1 + std::abs(entry);
    }
  }
  return l;
}

/// A sum of n rounded products, in any order, is off by at most (n + 1) eps sum |x y| to first
/// order.
double sum_bound(int64_t n, double magnitude) {
  return 2.0 * static_cast<double>(n + 1) * DBL_EPSILON * magnitude;
}

TEST_P(Linalg, ProductsEqualTheObviousOnesWithinBound) {
  struct Shape {
    int64_t m, k, n, gap;
  };
  for (const Shape& s : {Shape{1, 1, 1, 0}, Shape{3, 5, 7, 2}, Shape{15, 31, 16, 0},
                         Shape{29, 33, 17, 3}, Shape{128, 256, 64, 0}, Shape{64, 257, 48, 8},
                         Shape{14, 600, 32, 0}, Shape{30, 1024, 40, 0}, Shape{5, 0, 4, 1}}) {
    SCOPED_TRACE(testing::Message() << s.m << " x " << s.k << " x " << s.n);
    const Doubles a(s.m, s.k, s.gap, 1), b(s.k, s.n, s.gap, 2), before(s.m, s.n, s.gap, 3);
    Doubles c(before);
    add_product(a.view, b.view, c.view, GetParam());
    EXPECT_TRUE(c.gaps_untouched());
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n; ++j) {
        double sum = before.view.at(i, j), magnitude = std::abs(sum);
        for (int64_t k = 0; k < s.k; ++k) {
          const double product = a.view.at(i, k) * b.view.at(k, j);
          sum += product;
          magnitude += std::abs(product);
        }
        ASSERT_NEAR(c.view.at(i, j), sum, sum_bound(s.k + 1, magnitude)) << i << ", " << j;
      }
    }
  }
}

TEST_P(Linalg, SumsOfChosenRowsEqualTheObviousOnesWithinBound) {
  const int64_t rows = 23;
  for (const int64_t cols : {0, 1, 7, 8, 63, 64, 65, 150}) {
    const Doubles b(rows, cols, 5, 1);
    for (const size_t count : {0u, 1u, 2u, 40u}) {
      SCOPED_TRACE(testing::Message() << count << " of " << cols << " columns");
      const Doubles factors(1, static_cast<int64_t>(count), 0, 2), before(1, cols, 9, 3);
      std::vector<int32_t> chosen(count);
      for (size_t k = 0; k < count; ++k) chosen[k] = static_cast<int32_t>(k * k % rows);
      Doubles y(before);
      add_rows(b.view, chosen, factors.numbers, y.numbers.data(), GetParam());
      EXPECT_TRUE(y.gaps_untouched());
      for (int64_t j = 0; j < cols; ++j) {
        double sum = before.view.at(0, j), magnitude = std::abs(sum);
        for (size_t k = 0; k < count; ++k) {
          const double product = factors.numbers[k] * b.view.at(chosen[k], j);
          sum += product;
          magnitude += std::abs(product);
        }
        ASSERT_NEAR(y.view.at(0, j), sum, sum_bound(static_cast<int64_t>(count) + 1, magnitude))
            << j;
      }
    }
  }
}

TEST_P(Linalg, AnEntryOfAProductDoesNotDependOnTheOthers) {
  const int64_t m = 45, k = 300, n = 50;
  const Doubles a(m, k, 3, 1), b(k, n, 5, 2);
  Doubles whole(m, n, 0, 3);
  Doubles pieces(whole);
  add_product(a.view, b.view, whole.view, GetParam());
  for (int64_t i = 0; i < m; i += 7) {
    for (int64_t j = 0; j < n; j += 19) {
      const int64_t rows = std::min<int64_t>(7, m - i), cols = std::min<int64_t>(19, n - j);
      add_product({a.view.data + i * a.view.stride, rows, k, a.view.stride},
                  {b.view.data + j, k, cols, b.view.stride},
                  {pieces.view.data + i * n + j, rows, cols, n}, GetParam());
    }
  }
  EXPECT_EQ(pieces.numbers, whole.numbers);
}

// |L X - B| <= n eps |L| |X| to first order (Higham, Accuracy and Stability, Th. 8.5).
TEST_P(Linalg, SolvingForALowerTriangleLeavesASmallResidual) {
  for (const int64_t n : kSides) {
    for (const int64_t cols : {1, 16, 37}) {
      const Doubles l = lower_triangle(n, 3, 1), b(n, cols, 2, 2);
      Doubles x(b);
      solve_lower(l.view, x.view, GetParam());
      EXPECT_TRUE(x.gaps_untouched());
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < cols; ++j) {
          double sum = 0, magnitude = 0;
          for (int64_t k = 0; k <= i; ++k) {
            const double product = l.view.at(i, k) * x.view.at(k, j);
            sum += product;
            magnitude += std::abs(product);
          }
          ASSERT_NEAR(sum, b.view.at(i, j), sum_bound(n, magnitude)) << n << ": " << i << ", " << j;
        }
      }
    }
  }
}

// |L^T L - H| <= (n + 1) eps |L^T| |L| to first order (Higham, Th. 10.3).
TEST_P(Linalg, TheReversedFactorGivesTheMatrixBack) {
  ThreadPool pool(2, false);
  for (const int64_t n : kSides) {
    const Doubles h = positive_definite(n, 3, 1);
    Doubles l(h);
    ASSERT_TRUE(reversed_cholesky(l.view, pool, GetParam())) << n;
    EXPECT_TRUE(l.gaps_untouched());
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_GT(l.view.at(i, i), 0);
      for (int64_t j = 0; j < n; ++j) {
        if (j > i) {
          ASSERT_EQ(l.view.at(i, j), 0) << n << ": " << i << ", " << j;
          continue;
        }
        double sum = 0, magnitude = 0;
        for (int64_t k = i; k < n; ++k) {
          const double product = l.view.at(k, i) * l.view.at(k, j);
          sum += product;
          magnitude += std::abs(product);
        }
        ASSERT_NEAR(sum, h.view.at(i, j), sum_bound(n, magnitude)) << n << ": " << i << ", " << j;
      }
    }
  }
}

TEST_P(Linalg, WhatIsNotPositiveDefiniteHasNoFactor) {
  ThreadPool pool(2, false);
  for (const int64_t n : kSides) {
    for (const int64_t bad : {int64_t{0}, n / 2, n - 1}) {
      for (const double pivot : {-1.0, 0.0, double{NAN}, double{INFINITY}}) {
        Doubles h = positive_definite(n, 0, 1);
        h.view.at(bad, bad) = pivot;
        EXPECT_FALSE(reversed_cholesky(h.view, pool, GetParam())) << n << ": " << bad << pivot;
      }
    }
  }
}

TEST_P(Linalg, TheDiagonalOfTheInverseEqualsThatOfTheWholeInverse) {
  ThreadPool pool(2, false);
  for (const int64_t n : kSides) {
    const Doubles l = lower_triangle(n, 3, 1);
    const std::vector<double> diagonal = inverse_diagonal(l.view, pool, GetParam());
    std::vector<double> expected(static_cast<size_t>(n));
    for (int64_t c = 0; c < n; ++c) {  // column c of L^-1
      std::vector<double> x(static_cast<size_t>(n));
      for (int64_t i = c; i < n; ++i) {
        double sum = i == c ? 1 : 0;
        for (int64_t k = c; k < i; ++k) sum -= l.view.at(i, k) * x[static_cast<size_t>(k)];
        x[static_cast<size_t>(i)] = sum / l.view.at(i, i);
        expected[static_cast<size_t>(i)] += x[static_cast<size_t>(i)] * x[static_cast<size_t>(i)];
      }
    }
    ASSERT_EQ(diagonal.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(diagonal[i], expected[i], 1e-12 * expected[i]) << n << ": " << i;
    }
  }
}

TEST_P(Linalg, QuadraticFormsEqualTheObviousOnesWithinBound) {
  for (const int64_t n : {1, 2, 63, 65, 128, 129, 300, 512}) {
    for (const int64_t rows : {1, 16, 21}) {
      const Doubles x(rows, n, 2, 1);
      Doubles h(n, n, 0, 2);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < i; ++j) h.view.at(j, i) = h.view.at(i, j);
      }
      const std::vector<double> forms = quadratic_forms(x.view, h.view, GetParam());
      ASSERT_EQ(forms.size(), static_cast<size_t>(rows));
      for (int64_t r = 0; r < rows; ++r) {
        double sum = 0, magnitude = 0;
        for (int64_t i = 0; i < n; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            const double product = x.view.at(r, i) * h.view.at(i, j) * x.view.at(r, j);
            sum += product;
            magnitude += std::abs(product);
          }
        }
        ASSERT_NEAR(forms[static_cast<size_t>(r)], sum, sum_bound(2 * n, magnitude)) << n;
      }
    }
  }
}

TEST_P(Linalg, ThreadCountDoesNotChangeOneBit) {
  const Doubles h = positive_definite(450, 6, 1);
  std::vector<double> first, first_diagonal;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads, false);
    Doubles l(h);
    ASSERT_TRUE(reversed_cholesky(l.view, pool, GetParam()));
    const std::vector<double> diagonal = inverse_diagonal(l.view, pool, GetParam());
    if (threads == 1) {
      first = l.numbers;
      first_diagonal = diagonal;
    }
    EXPECT_EQ(l.numbers, first) << threads << " threads";
    EXPECT_EQ(diagonal, first_diagonal) << threads << " threads";
  }
}

}  // namespace
}  // namespace twofold

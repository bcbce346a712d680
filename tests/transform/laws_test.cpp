// The law of transforms, over the registry: undone, a transform gives the matrix back; products in
// the stored basis are products in the model's; the loss is the same in both.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "support/matrices.h"
#include "transform/transform.h"

namespace twofold {
namespace {

struct Sides {
  int64_t rows, cols;
};
constexpr Sides kSides[] = {{1, 1}, {5, 7}, {48, 192}, {172, 64}};

std::vector<std::string> transform_names() {
  std::vector<std::string> names;
  for (const Transform& transform : all_transforms()) names.emplace_back(transform.name);
  return names;
}

double norm(std::span<const float> values) {
  double sum = 0;
  for (float v : values) sum += static_cast<double>(v) * v;
  return std::sqrt(sum);
}

class TransformLaw : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Registry, TransformLaw, ::testing::ValuesIn(transform_names()));

/// H = A A^T + I of random A, [n, n].
std::vector<double> moment_of(int64_t n) {
  const std::vector<float> a = testing::normal_numbers(n * n, 1, "moment");
  std::vector<double> h(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = i == j ? 1 : 0;
      for (int64_t k = 0; k < n; ++k) {
        sum += static_cast<double>(a[static_cast<size_t>(i * n + k)]) *
               a[static_cast<size_t>(j * n + k)];
      }
      h[static_cast<size_t>(i * n + j)] = sum;
    }
  }
  return h;
}

/// tr(W H W^T).
double energy(Matrix<const float> w, const std::vector<double>& h) {
  double sum = 0;
  for (int64_t r = 0; r < w.rows; ++r) {
    for (int64_t i = 0; i < w.cols; ++i) {
      for (int64_t j = 0; j < w.cols; ++j) {
        sum += w.at(r, i) * h[static_cast<size_t>(i * w.cols + j)] * w.at(r, j);
      }
    }
  }
  return sum;
}

// Each side is at most two orthogonal factors and a diagonal in float32: 20 roundings on values of
// the norm of the matrix, each 2^-24, leave well under 1e-5 of it.
TEST_P(TransformLaw, KeepsProductsAndLossAndCanBeUndone) {
  const Transform& transform = find_transform(GetParam());
  for (const Sides& s : kSides) {
    const std::vector<float> original = testing::normal_numbers(s.rows * s.cols, 0.1, "w");
    std::vector<float> basis = original;
    Matrix<float> w(basis.data(), s.rows, s.cols);
    std::vector<double> h = moment_of(s.cols);
    const double before = energy(w, h);
    ThreadPool pool(1, false);
    TransformSpec spec = transform.fit_input({.weights = {w},
                                              .moment = {h.data(), s.cols, s.cols},
                                              .mean_magnitude = {},
                                              .params = complete_params(transform.params, {}, {}),
                                              .seed = 7,
                                              .name = "in",
                                              .trial = {}},
                                             pool);
    spec.output_seed = transform.output_seed(7, "w");
    EXPECT_EQ(spec.name, transform.name);
    const auto prepared = prepare_transform(spec, s.rows, s.cols);
    prepared->apply_weight(w);
    prepared->apply_moment({h.data(), s.cols, s.cols});
    EXPECT_NEAR(energy(w, h), before, 1e-5 * before);
    if (prepared->identity()) {
      EXPECT_EQ(basis, original);
    }

    const int64_t m = 3;
    const std::vector<float> x = testing::normal_numbers(m * s.cols, 1, "x");
    std::vector<float> x_basis = x, y(static_cast<size_t>(m * s.rows));
    prepared->apply_input({x_basis.data(), m, s.cols});
    const auto product = [&](const std::vector<float>& in, const std::vector<float>& weight,
                             int64_t i, int64_t r) {
      double sum = 0;
      for (int64_t c = 0; c < s.cols; ++c) {
        sum += static_cast<double>(in[static_cast<size_t>(i * s.cols + c)]) *
               weight[static_cast<size_t>(r * s.cols + c)];
      }
      return static_cast<float>(sum);
    };
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t r = 0; r < s.rows; ++r) {
        y[static_cast<size_t>(i * s.rows + r)] = product(x_basis, basis, i, r);
      }
    }
    prepared->undo_output({y.data(), m, s.rows});
    const double bound = 1e-5 * norm(x) * norm(original);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t r = 0; r < s.rows; ++r) {
        EXPECT_NEAR(y[static_cast<size_t>(i * s.rows + r)], product(x, original, i, r), bound);
      }
    }

    prepared->undo_weight(w);
    for (size_t i = 0; i < basis.size(); ++i) {
      ASSERT_NEAR(basis[i], original[i], 1e-5 * norm(original));
    }
  }
}

TEST(PrepareTransform, RefusesASpecificationThatDoesNotFit) {
  EXPECT_THROW(prepare_transform({.name = "rotate", .variant = {}, .input_scale = {}}, 2, 2),
               Error);
  EXPECT_THROW(prepare_transform({.name = "none", .variant = {}, .input_scale = {1.0f}}, 2, 2),
               Error);
}

}  // namespace
}  // namespace twofold

// The law of transforms, over the registry: undone, a transform gives the matrix back; products in
// the stored basis are products in the model's; the loss is the same in both.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support/matrices.h"
#include "transform/transform.h"
#include "transform/transform_json.h"

namespace twofold {
namespace {

struct Sides {
  int64_t rows, cols;
};
/// One number, primes, odd sides, and sides of real models.
constexpr Sides kSides[] = {{1, 1}, {1, 8}, {5, 7}, {45, 1}, {48, 192}, {172, 64}, {9, 576}};

struct Variant {
  std::string transform;
  std::map<std::string, std::string> params;
};

/// Every transform, with each choice of each of its settings.
std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const Transform& transform : all_transforms()) {
    all.push_back({std::string(transform.name), {}});
    for (const ParamSpec& spec : transform.params) {
      for (const std::string_view choice : spec.choices) {
        if (choice == spec.fallback) continue;
        all.push_back(
            {std::string(transform.name), {{std::string(spec.name), std::string(choice)}}});
      }
    }
  }
  return all;
}

double norm(std::span<const float> values) {
  double sum = 0;
  for (float v : values) sum += static_cast<double>(v) * v;
  return std::sqrt(sum);
}

class TransformLaw : public ::testing::TestWithParam<Variant> {};
INSTANTIATE_TEST_SUITE_P(Registry, TransformLaw, ::testing::ValuesIn(variants()),
                         [](const auto& row) {
                           std::string name = row.param.transform;
                           for (const auto& [key, value] : row.param.params) name += "_" + value;
                           return name;
                         });

/// H = A A^T + I of a random A [n, 12], [n, n].
std::vector<double> moment_of(int64_t n) {
  const int64_t rank = 12;
  const std::vector<float> a = testing::normal_numbers(n * rank, 1, "moment");
  std::vector<double> h(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = i == j ? 1 : 0;
      for (int64_t k = 0; k < rank; ++k) {
        sum += static_cast<double>(a[static_cast<size_t>(i * rank + k)]) *
               a[static_cast<size_t>(j * rank + k)];
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

/// Stands for the loss of some grid: least where all columns are multiplied by the same.
double rounding_loss(std::span<const float> column_scale) {
  double loss = 0;
  for (const float s : column_scale) loss += std::abs(std::log(static_cast<double>(s)) - 0.1);
  return loss;
}

/// A weight matrix, the second moment of its input, and a transform fitted to both.
struct Fitted {
  Fitted(const Variant& variant, Sides sides) : s(sides), h(moment_of(s.cols)) {
    original = testing::normal_numbers(s.rows * s.cols, 0.1, "w");
    const Transform& transform = find_transform(variant.transform);
    const Params params = complete_params(transform.params, {}, variant.params);
    ThreadPool pool(1, false);
    spec = transform.fit_input({.weights = {{original.data(), s.rows, s.cols}},
                                .moment = {h.data(), s.cols, s.cols},
                                .mean_magnitude = {},
                                .params = params,
                                .seed = 7,
                                .name = "in",
                                .trial = rounding_loss},
                               pool);
    EXPECT_EQ(spec.name, transform.name);
    EXPECT_EQ(spec.input_scale.size(),
              transform.has_input_scale(params) ? static_cast<size_t>(s.cols) : 0u);
    input_side = prepare_transform(spec, 0, s.cols);
    transform.add_output(spec, 7, "w", s.rows);
    prepared = prepare_transform(spec, s.rows, s.cols);
  }

  Sides s;
  std::vector<double> h;        // [cols, cols], in the model's basis
  std::vector<float> original;  // [rows, cols]
  TransformSpec spec;
  std::unique_ptr<const PreparedTransform> input_side, prepared;
};

TEST_P(TransformLaw, WhatIsDrawnFromAnotherSeedIsRefusedByName) {
  const Sides s{48, 192};
  const Fitted t(GetParam(), s);
  EXPECT_EQ(t.spec.input_seed != 0, t.spec.input_checksum != 0);
  EXPECT_EQ(t.spec.output_seed != 0, t.spec.output_checksum != 0);
  TransformSpec other_input = t.spec, other_output = t.spec;
  if (t.spec.input_seed != 0) other_input.input_seed ^= 1;
  if (t.spec.output_seed != 0) other_output.output_seed ^= 1;
  for (const TransformSpec& other : {other_input, other_output}) {
    if (other == t.spec) continue;
    try {
      prepare_transform(other, s.rows, s.cols);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruptFile);
      const std::string message = error.what(), side = other == other_input ? "input" : "output";
      EXPECT_NE(message.find(GetParam().transform), std::string::npos) << message;
      EXPECT_NE(message.find(side + " side with checksum"), std::string::npos) << message;
    }
  }
}

// Each side is at most two orthogonal factors and a diagonal in float32: 20 roundings on values of
// the norm of the matrix, each 2^-24, leave well under 1e-5 of it. (methods: round trip 1e-5.)
TEST_P(TransformLaw, UndoneGivesTheMatrixBack) {
  for (const Sides& s : kSides) {
    const Fitted t(GetParam(), s);
    std::vector<float> basis = t.original;
    const Matrix<float> w(basis.data(), s.rows, s.cols);
    t.prepared->apply_weight(w);
    if (t.prepared->identity()) {
      EXPECT_EQ(basis, t.original);
    }
    t.prepared->undo_weight(w);
    for (size_t i = 0; i < basis.size(); ++i) {
      ASSERT_NEAR(basis[i], t.original[i], 1e-5 * norm(t.original));
    }
  }
}

TEST_P(TransformLaw, KeepsTheLoss) {
  for (const Sides& s : kSides) {
    Fitted t(GetParam(), s);
    std::vector<float> basis = t.original;
    const double before = energy({basis.data(), s.rows, s.cols}, t.h);
    t.prepared->apply_weight({basis.data(), s.rows, s.cols});
    std::vector<double> again = t.h;
    t.input_side->apply_moment({t.h.data(), s.cols, s.cols});
    t.prepared->apply_moment({again.data(), s.cols, s.cols});
    EXPECT_EQ(again, t.h);
    EXPECT_NEAR(energy({basis.data(), s.rows, s.cols}, t.h), before, 1e-5 * before);
    for (int64_t i = 0; i < s.cols; ++i) {
      for (int64_t j = 0; j < i; ++j) {
        ASSERT_EQ(t.h[static_cast<size_t>(i * s.cols + j)],
                  t.h[static_cast<size_t>(j * s.cols + i)]);
      }
    }
  }
}

/// x w^T in double, rounded: x [m, cols], w [rows, cols]; out [m, rows].
std::vector<float> products(const std::vector<float>& x, const std::vector<float>& w, Sides s) {
  const int64_t m = static_cast<int64_t>(x.size()) / s.cols;
  std::vector<float> y(static_cast<size_t>(m * s.rows));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t r = 0; r < s.rows; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < s.cols; ++c) {
        sum += static_cast<double>(x[static_cast<size_t>(i * s.cols + c)]) *
               w[static_cast<size_t>(r * s.cols + c)];
      }
      y[static_cast<size_t>(i * s.rows + r)] = static_cast<float>(sum);
    }
  }
  return y;
}

TEST_P(TransformLaw, KeepsProductsOnEveryInstructionSet) {
  for (const Sides& s : kSides) {
    const Fitted t(GetParam(), s);
    std::vector<float> basis = t.original;
    t.prepared->apply_weight({basis.data(), s.rows, s.cols});
    for (const int64_t m : {1, 3, 40}) {
      const std::vector<float> x = testing::normal_numbers(m * s.cols, 1, "x");
      const std::vector<float> expected = products(x, t.original, s);
      for (const Isa isa : all_isas()) {
        if (!cpu_has(isa)) continue;
        std::vector<float> x_basis = x;
        t.prepared->apply_input({x_basis.data(), m, s.cols}, isa);
        std::vector<float> y = products(x_basis, basis, s);
        t.prepared->undo_output({y.data(), m, s.rows}, isa);
        const double bound = 1e-5 * norm(x) * norm(t.original);
        for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], bound);
      }
    }
  }
}

TEST_P(TransformLaw, OneRowOfActivationsDoesNotDependOnTheOthers) {
  for (const Sides& s : kSides) {
    const Fitted t(GetParam(), s);
    const int64_t m = 37, stride = s.cols + 3;
    for (const Isa isa : all_isas()) {
      if (!cpu_has(isa)) continue;
      const std::vector<float> x = testing::normal_numbers(m * stride, 1, "x");
      std::vector<float> together = x, alone = x;
      t.prepared->apply_input({together.data(), m, s.cols, stride}, isa);
      for (int64_t r = 0; r < m; ++r) {
        t.prepared->apply_input({alone.data() + r * stride, 1, s.cols}, isa);
      }
      EXPECT_EQ(together, alone);
    }
  }
}

TEST_P(TransformLaw, SpecificationSurvivesJson) {
  const Fitted t(GetParam(), {48, 192});
  const StoredTransform stored = transform_from_json(transform_to_json(t.spec, "scales"), "here");
  EXPECT_EQ(stored.input_scale_tensor, t.spec.input_scale.empty() ? "" : "scales");
  TransformSpec spec = stored.spec;
  spec.input_scale = t.spec.input_scale;
  EXPECT_TRUE(spec == t.spec);
}

TEST(PrepareTransform, RefusesASpecificationThatDoesNotFit) {
  EXPECT_THROW(prepare_transform({.name = "rotate", .variant = {}, .input_scale = {}}, 2, 2),
               Error);
  EXPECT_THROW(prepare_transform({.name = "none", .variant = {}, .input_scale = {1.0f}}, 2, 2),
               Error);
}

}  // namespace
}  // namespace twofold

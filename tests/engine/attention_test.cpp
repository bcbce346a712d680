#include "engine/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/rng.h"

namespace twofold {
namespace {

struct Numbers {
  Numbers(int64_t rows, int64_t cols, uint64_t seed)
      : data(static_cast<size_t>(rows * cols)), view(data.data(), rows, cols) {
    Rng rng(seed);
    for (float& x : data) x = static_cast<float>(rng.normal());
  }
  std::vector<float> data;
  Matrix<float> view;
};

/// Attention by its definition, in float64.
std::vector<double> slow(const AttentionInput& in, const ModelConfig& c, double scale) {
  std::vector<double> out(static_cast<size_t>(in.q.rows * in.q.cols), 0.0);
  const int64_t past = in.keys.rows - in.q.rows, d = c.head_dim;
  for (int64_t t = 0; t < in.q.rows; ++t) {
    for (int64_t h = 0; h < c.heads; ++h) {
      const int64_t kv = h / (c.heads / c.kv_heads);
      std::vector<double> p;
      double sum = 0;
      for (int64_t j = 0; j <= past + t; ++j) {
        double s = 0;
        for (int64_t i = 0; i < d; ++i) {
          s += double{in.q.at(t, h * d + i)} * in.keys.at(j, kv * d + i);
        }
        p.push_back(std::exp(s * scale));
        sum += p.back();
      }
      for (int64_t j = 0; j <= past + t; ++j) {
        for (int64_t i = 0; i < d; ++i) {
          out[static_cast<size_t>(t * in.q.cols + h * d + i)] +=
              p[static_cast<size_t>(j)] / sum * in.values.at(j, kv * d + i);
        }
      }
    }
  }
  return out;
}

TEST(Attention, EqualsItsDefinitionAtEveryInstructionSet) {
  for (const Isa isa : all_isas()) {
    if (!cpu_has(isa)) continue;
    for (const int64_t tokens : {1, 3, 64, 65, 150}) {
      for (const int64_t past : {0, 7, 100}) {
        ModelConfig c;
        c.heads = 6;
        c.kv_heads = 2;
        c.head_dim = 20;
        ThreadPool pool(2);
        const Context ctx{.pool = pool, .isa = isa};
        Numbers q(tokens, c.q_width(), 1), k(past + tokens, c.kv_width(), 2),
            v(past + tokens, c.kv_width(), 3), out(tokens, c.q_width(), 4);
        const AttentionInput in{q.view, k.view, v.view, out.view};
        attention({&in, 1}, c, 0.2, ctx);
        const std::vector<double> expected = slow(in, c, 0.2);
        // Rounding of at most 250 products per score and per output, values of order 1.
        const double bound = 4 * 250 * std::numeric_limits<float>::epsilon();
        for (size_t i = 0; i < expected.size(); ++i) {
          ASSERT_NEAR(out.data[i], expected[i], bound)
              << isa_name(isa) << " " << tokens << " " << i;
        }
      }
    }
  }
}

TEST(Attention, DoesNotDependOnThreadsOrOnOtherSequences) {
  ModelConfig c;
  c.heads = 4;
  c.kv_heads = 4;
  c.head_dim = 16;
  Numbers q(90, 64, 1), k(90, 64, 2), v(90, 64, 3), alone(90, 64, 4), both(90, 64, 5);
  Numbers q2(33, 64, 6), k2(50, 64, 7), v2(50, 64, 8), out2(33, 64, 9);
  ThreadPool one(1), three(3);
  const AttentionInput first{q.view, k.view, v.view, alone.view};
  attention({&first, 1}, c, 0.25, {.pool = one, .isa = select_isa()});
  const AttentionInput pair[] = {{q2.view, k2.view, v2.view, out2.view},
                                 {q.view, k.view, v.view, both.view}};
  attention(pair, c, 0.25, {.pool = three, .isa = select_isa()});
  EXPECT_EQ(alone.data, both.data);
}

TEST(RopeTable, RotatesEachPairByItsAngle) {
  const std::vector<float> frequencies = {1.0f, 0.1f};
  const RopeTable table(frequencies, 5, 3);
  Numbers x(3, 12, 1);  // two heads of 6: the last two numbers of each stay
  const std::vector<float> before = x.data;
  table.apply(6, x.view, 0, 3);
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t i = 0; i < 2; ++i) {
        const int64_t a = h * 6 + i, b = a + 2;
        const double angle = double{frequencies[static_cast<size_t>(i)]} * double(5 + r);
        const double va = before[static_cast<size_t>(r * 12 + a)];
        const double vb = before[static_cast<size_t>(r * 12 + b)];
        EXPECT_NEAR(x.view.at(r, a), va * std::cos(angle) - vb * std::sin(angle), 1e-6);
        EXPECT_NEAR(x.view.at(r, b), vb * std::cos(angle) + va * std::sin(angle), 1e-6);
      }
      for (int64_t i = 4; i < 6; ++i) {
        EXPECT_EQ(x.view.at(r, h * 6 + i), before[static_cast<size_t>(r * 12 + h * 6 + i)]);
      }
    }
  }
}

}  // namespace
}  // namespace twofold

#include "engine/attention.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <string>

#include "base/rng.h"
#include "engine/kv_cache.h"
#include "engine/rope_table.h"
#include "tensor/random_matrix.h"

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

/// Keys and values in float64, [positions, kv_heads * head_dim].
struct Exact {
  std::vector<double> keys, values;
};

/// Attention by its definition, in float64.
std::vector<double> slow(Matrix<const float> q, const Exact& kv, const ModelConfig& c,
                         const AttentionRules& rules) {
  std::vector<double> out(static_cast<size_t>(q.rows * q.cols), 0.0);
  const int64_t width = c.kv_width(), positions = std::ssize(kv.keys) / width, d = c.head_dim;
  const int64_t past = positions - q.rows;
  for (int64_t t = 0; t < q.rows; ++t) {
    for (int64_t h = 0; h < c.heads; ++h) {
      const int64_t first = h / (c.heads / c.kv_heads) * d;
      std::vector<double> p;
      double sum = 0;
      const int64_t own = past + t;
      const int64_t begin = rules.window > 0 ? std::max<int64_t>(own + 1 - rules.window, 0) : 0;
      for (int64_t j = begin; j <= own; ++j) {
        const double* key = kv.keys.data() + j * width + first;
        double s = 0;
        for (int64_t i = 0; i < d; ++i) s += double{q.at(t, h * d + i)} * key[i];
        s *= rules.scale;
        if (rules.softcap > 0) s = rules.softcap * std::tanh(s / rules.softcap);
        if (!rules.slopes.empty()) {
          s += double{rules.slopes[static_cast<size_t>(h)]} * static_cast<double>(j - own);
        }
        p.push_back(std::exp(s));
        sum += p.back();
      }
      for (int64_t j = begin; j <= own; ++j) {
        const double* value = kv.values.data() + j * width + first;
        for (int64_t i = 0; i < d; ++i) {
          out[static_cast<size_t>(t * q.cols + h * d + i)] +=
              p[static_cast<size_t>(j - begin)] / sum * value[i];
        }
      }
    }
  }
  return out;
}

struct Shape {
  int64_t heads, kv_heads, head_dim, tokens, past;
};

ModelConfig config_of(const Shape& shape) {
  ModelConfig c;
  c.layers = 1;
  c.heads = shape.heads;
  c.kv_heads = shape.kv_heads;
  c.head_dim = shape.head_dim;
  return c;
}

// Ratios of heads, heads that no vector divides, one block of keys and several, queries that are
// few, a block of them, and more; more heads to a key-value head than one group takes.
const Shape kShapes[] = {
    {6, 2, 20, 1, 0},    {6, 2, 20, 3, 7},    {6, 2, 20, 65, 100},  {6, 2, 20, 150, 0},
    {3, 1, 5, 1, 511},   {3, 1, 5, 2, 511},   {3, 1, 5, 9, 1020},   {4, 4, 64, 1, 1500},
    {4, 4, 64, 8, 1030}, {4, 4, 64, 70, 500}, {6, 2, 20, 1030, 0},  {12, 1, 16, 90, 460},
    {2, 1, 300, 5, 600}, {1, 1, 80, 64, 448}, {40, 1, 16, 8, 1100},
};

struct Inputs {
  explicit Inputs(const Shape& s)
      : q(s.tokens, s.heads * s.head_dim, 1),
        k(s.past + s.tokens, s.kv_heads * s.head_dim, 2),
        v(s.past + s.tokens, s.kv_heads * s.head_dim, 3) {}
  Exact exact() const { return {{k.data.begin(), k.data.end()}, {v.data.begin(), v.data.end()}}; }
  Numbers q, k, v;
};

/// Attention over the rows as they are.
std::vector<float> over_rows(const Inputs& in, const ModelConfig& c, const AttentionRules& rules,
                             const Context& ctx) {
  Numbers out(in.q.view.rows, in.q.view.cols, 4);
  const KvRows kv(in.k.view, in.v.view, c.head_dim);
  const AttentionInput input{in.q.view, &kv, out.view};
  attention({&input, 1}, c, rules, ctx);
  return out.data;
}

/// A cache that the rows went into in pieces of 37 positions.
KvCache filled_cache(const Inputs& in, const ModelConfig& c, const KvFormat& format, Isa isa) {
  const int64_t positions = in.k.view.rows, width = in.k.view.cols;
  KvCache cache(c, positions, format);
  for (int64_t at = 0; at < positions; at += 37) {
    const int64_t count = std::min<int64_t>(37, positions - at);
    cache.reserve(count);
    cache.layer(0).extend(at, count);
    cache.layer(0).write(at, {in.k.view.row(at).data(), count, width},
                         {in.v.view.row(at).data(), count, width}, isa);
    cache.advance(count);
  }
  return cache;
}

std::vector<float> over_cache(const Inputs& in, const ModelConfig& c, const AttentionRules& rules,
                              const KvFormat& format, const Context& ctx) {
  KvCache cache = filled_cache(in, c, format, ctx.isa);
  Numbers out(in.q.view.rows, in.q.view.cols, 4);
  const AttentionInput input{in.q.view, &cache.layer(0), out.view};
  attention({&input, 1}, c, rules, ctx);
  return out.data;
}

/// x [n] times the orthonormal Hadamard matrix of side `side`, block by block.
void rotate(double* x, int64_t n, int64_t side) {
  std::vector<double> y(static_cast<size_t>(n), 0.0);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t block = i / side * side;
    for (int64_t j = 0; j < side; ++j) {
      const bool odd = std::popcount(static_cast<uint64_t>((i - block) & j)) % 2 != 0;
      y[static_cast<size_t>(i)] += odd ? -x[block + j] : x[block + j];
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    x[i] = y[static_cast<size_t>(i)] / std::sqrt(static_cast<double>(side));
  }
}

/// What a cache holds, in the basis of the model.
Exact read_back(const KvLayer& layer, const ModelConfig& c) {
  const int64_t d = c.head_dim, width = c.kv_width(), positions = layer.positions();
  std::vector<float> panel(static_cast<size_t>(d * kPanelCols)), row(static_cast<size_t>(d));
  Exact kv{std::vector<double>(static_cast<size_t>(positions * width)),
           std::vector<double>(static_cast<size_t>(positions * width))};
  for (int64_t p = 0; p < positions; ++p) {
    const int64_t lane = p % kPanelCols;
    for (int64_t h = 0; h < c.kv_heads; ++h) {
      const float* keys = layer.keys(h, p - lane, panel.data(), Isa::kScalar);
      const auto values = layer.values(h, p, 1, row.data(), Isa::kScalar);
      double* key = kv.keys.data() + p * width + h * d;
      double* value = kv.values.data() + p * width + h * d;
      for (int64_t i = 0; i < d; ++i) {
        key[i] = keys[i * kPanelCols + lane];
        value[i] = values.at(0, i);
      }
      rotate(key, d, layer.rotation());
      rotate(value, d, layer.rotation());
    }
  }
  return kv;
}

double norm(std::span<const double> x) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  return std::sqrt(squares);
}

/// The largest norm of a head's vector.
double largest_norm(std::span<const double> x, int64_t head_dim) {
  double largest = 0;
  for (size_t i = 0; i < x.size(); i += static_cast<size_t>(head_dim)) {
    largest = std::max(largest, norm(x.subspan(i, static_cast<size_t>(head_dim))));
  }
  return largest;
}

/// How far float sums may be from the definition. A score is a sum of head_dim products, and each
/// step of a rotation rounds once: off by s <= scale |q| |k| (head_dim + 20) eps, which changes
/// weights by factors within e^(2s). An output is an average of values no longer than |v|, summed
/// in chains of at most kKeyBlock weights of 4 ulp, a join of 4 roundings for every block.
double rounding_bound(const Inputs& in, const Exact& kv, const ModelConfig& c, double scale) {
  const std::vector<double> q(in.q.data.begin(), in.q.data.end());
  constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
  const double s = scale * largest_norm(q, c.head_dim) * largest_norm(kv.keys, c.head_dim) *
                   static_cast<double>(c.head_dim + 20) * kEpsilon;
  const int64_t blocks = in.k.view.rows / kKeyBlock + 1;
  return (std::expm1(2 * s) + static_cast<double>(kKeyBlock + 4 + 4 * blocks) * kEpsilon) *
         largest_norm(kv.values, c.head_dim);
}

void expect_near(const std::vector<float>& got, const std::vector<double>& want, double bound,
                 const std::string& what) {
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) worst = std::max(worst, std::abs(got[i] - want[i]));
  EXPECT_LE(worst, bound) << what;
}

TEST(Attention, EqualsItsDefinitionAtEveryInstructionSetAndFormOfCache) {
  ThreadPool pool(2);
  for (const Shape& shape : kShapes) {
    const ModelConfig c = config_of(shape);
    const double scale = 0.5 / std::sqrt(static_cast<double>(shape.head_dim));
    const Inputs in(shape);
    const Exact exact = in.exact();
    const std::vector<double> expected = slow(in.q.view, exact, c, {.scale = scale});
    for (const KvFormat& format : kv_formats()) {
      KvCache cache = filled_cache(in, c, format, select_isa());
      const Exact stored = read_back(cache.layer(0), c);
      const std::vector<double> of_stored = slow(in.q.view, stored, c, {.scale = scale});
      for (const Isa isa : usable_isas()) {
        const Context ctx{.pool = pool, .isa = isa};
        const std::string what =
            fmt::format("{} {} {} heads of {}, {} tokens after {}", format.name, isa_name(isa),
                        shape.heads, shape.head_dim, shape.tokens, shape.past);
        expect_near(over_rows(in, c, {.scale = scale}, ctx), expected,
                    rounding_bound(in, exact, c, scale), what);
        expect_near(over_cache(in, c, {.scale = scale}, format, ctx), of_stored,
                    rounding_bound(in, stored, c, scale), what);
      }
    }
  }
}

/// Largest change of a vector x [n] by being stored, relative to its norm. Half precision: 2^-11 of
/// each number. 8 bits: half a step, max / 254, for each of n numbers, the maximum being at most
/// the norm; and the rounding of log2(n) steps and a product, relative to the norm in every number.
double storing_bound(const KvFormat& format, int64_t n) {
  if (!format.scaled) return format.number_bytes == 2 ? 0x1p-11 : 0.0;
  const double count = static_cast<double>(n);
  return std::sqrt(count) * (1.0 / 254 + (std::log2(count) + 2) * 0x1p-23);
}

TEST(KvCache, VectorsChangeByHalfAStepAtMost) {
  for (const Shape& shape : kShapes) {
    const ModelConfig c = config_of(shape);
    Inputs in(shape);
    // What a model's keys look like: some numbers of a head are far larger than the others.
    for (int64_t r = 0; r < in.k.view.rows; ++r) in.k.view.at(r, 3) *= 50.0f;
    const Exact exact = in.exact();
    for (const KvFormat& format : kv_formats()) {
      KvCache cache = filled_cache(in, c, format, select_isa());
      const Exact stored = read_back(cache.layer(0), c);
      const size_t d = static_cast<size_t>(c.head_dim);
      for (const auto side : {&Exact::keys, &Exact::values}) {
        const std::vector<double>&x = exact.*side, &y = stored.*side;
        ASSERT_EQ(x.size(), y.size());
        for (size_t i = 0; i < x.size(); i += d) {
          std::vector<double> change(d);
          for (size_t j = 0; j < d; ++j) change[j] = y[i + j] - x[i + j];
          ASSERT_LE(norm(change),
                    storing_bound(format, c.head_dim) * norm(std::span(x).subspan(i, d)))
              << format.name << " " << i;
        }
      }
    }
  }
}

TEST(KvCache, TakesTheMemoryOfItsPositions) {
  const ModelConfig c = config_of({4, 2, 64, 1, 0});
  std::vector<int64_t> bytes;
  for (const KvFormat& format : kv_formats()) {
    KvCache cache(c, 1000, format);
    EXPECT_EQ(cache.bytes(), 0);
    cache.reserve(1);
    bytes.push_back(cache.bytes());
    cache.advance(1);
    cache.reserve(999);
    EXPECT_EQ(cache.bytes(), bytes.back() / 256 * 1024) << format.name;
    cache.advance(999);
    EXPECT_THROW(cache.reserve(1), Error);
  }
  // Keys and values of two heads, 256 positions.
  const int64_t numbers = 2 * 2 * 64 * 256;
  EXPECT_EQ(bytes, (std::vector<int64_t>{4 * numbers, 2 * numbers, numbers + numbers / 16}));
}

TEST(Attention, ACacheOfFloatsGivesTheSameBitsAsRows) {
  ThreadPool pool(2);
  for (const Shape& shape : kShapes) {
    const ModelConfig c = config_of(shape);
    const Inputs in(shape);
    for (const Isa isa : usable_isas()) {
      const Context ctx{.pool = pool, .isa = isa};
      EXPECT_EQ(over_rows(in, c, {.scale = 0.1}, ctx),
                over_cache(in, c, {.scale = 0.1}, kv_formats().front(), ctx));
    }
  }
}

TEST(Attention, PartsOfItsOwnOrInARowGiveTheSameBits) {
  // Eight queries have their blocks of keys as work items, nine take them one after the other.
  ThreadPool pool(2);
  const Context ctx{.pool = pool, .isa = select_isa()};
  const Shape nine{6, 2, 64, 9, 1500}, eight{6, 2, 64, 8, 1501};
  const ModelConfig c = config_of(nine);
  const Inputs in(nine);
  Inputs last(eight);
  last.k.data = in.k.data;
  last.v.data = in.v.data;
  std::copy(in.q.data.begin() + c.q_width(), in.q.data.end(), last.q.data.begin());
  const std::vector<float> all = over_rows(in, c, {.scale = 0.1}, ctx);
  EXPECT_EQ(over_rows(last, c, {.scale = 0.1}, ctx),
            std::vector<float>(all.begin() + c.q_width(), all.end()));
}

TEST(Attention, DoesNotDependOnThreadsOrOnOtherSequences) {
  ThreadPool one(1), three(3);
  for (const KvFormat& format : kv_formats()) {
    ModelConfig c = config_of({4, 2, 16, 0, 0});
    std::vector<std::vector<float>> alone;
    std::vector<std::unique_ptr<KvCache>> caches;
    std::vector<Numbers> q, out;
    std::vector<AttentionInput> batch;
    for (const auto& [tokens, past] : {std::pair{90, 0}, {1, 1300}, {1, 3}, {33, 600}, {5, 1020}}) {
      const Inputs in({4, 2, 16, tokens, past});
      alone.push_back(
          over_cache(in, c, {.scale = 0.25}, format, {.pool = one, .isa = select_isa()}));
      caches.push_back(std::make_unique<KvCache>(c, tokens + past, format));
      caches.back()->reserve(tokens + past);
      KvLayer& layer = caches.back()->layer(0);
      layer.extend(0, tokens + past);
      layer.write(0, in.k.view, in.v.view, select_isa());
      q.push_back(in.q);
      out.emplace_back(tokens, c.q_width(), 5);
    }
    for (size_t i = 0; i < q.size(); ++i) {
      const int64_t tokens = out[i].view.rows;
      batch.push_back({Matrix<const float>(q[i].data.data(), tokens, c.q_width()),
                       &caches[i]->layer(0),
                       Matrix<float>(out[i].data.data(), tokens, c.q_width())});
    }
    attention(batch, c, {.scale = 0.25}, {.pool = three, .isa = select_isa()});
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i].data, alone[i]) << format.name;
  }
}

TEST(Attention, NumbersThatAreNotFiniteStayVisible) {
  ThreadPool pool(1);
  for (const KvFormat& format : kv_formats()) {
    for (const bool in_keys : {true, false}) {
      Inputs in({2, 1, 24, 1, 700});
      (in_keys ? in.k : in.v).view.at(650, 5) = std::numeric_limits<float>::quiet_NaN();
      const std::vector<float> out = over_cache(in, config_of({2, 1, 24, 1, 700}), {.scale = 0.2},
                                                format, {.pool = pool, .isa = select_isa()});
      EXPECT_TRUE(std::any_of(out.begin(), out.end(), [](float x) { return std::isnan(x); }))
          << format.name;
    }
  }
}

TEST(Attention, NumbersThatAreNotFiniteReachNoEarlierPosition) {
  ThreadPool pool(2);
  constexpr float kBad[] = {std::numeric_limits<float>::quiet_NaN(),
                            -std::numeric_limits<float>::infinity()};
  for (const Shape& shape : kShapes) {
    const ModelConfig c = config_of(shape);
    const Inputs clean(shape);
    for (const KvFormat& format : kv_formats()) {
      for (const Isa isa : usable_isas()) {
        const Context ctx{.pool = pool, .isa = isa};
        const std::vector<float> expected = over_cache(clean, c, {.scale = 0.2}, format, ctx);
        for (const int64_t from_end : {1, 70, 513}) {   // where the first bad position lies
          const int64_t bad = shape.tokens - from_end;  // of the queries
          if (bad < 0) continue;
          Inputs in(shape);
          for (int64_t t = bad; t < shape.tokens; t += 2) {
            const int64_t position = shape.past + t;
            const float value = kBad[t / 2 % 2];
            std::ranges::fill(in.q.view.row(t), value);
            in.k.view.at(position, 2) = value;
            in.v.view.at(position, 1) = value;
            in.v.view.at(position, shape.head_dim - 1) = value;
          }
          const std::vector<float> out = over_cache(in, c, {.scale = 0.2}, format, ctx);
          const auto end = static_cast<ptrdiff_t>(bad * c.q_width());
          ASSERT_TRUE(std::equal(out.begin(), out.begin() + end, expected.begin()))
              << fmt::format("{} {} {} tokens after {}, bad from {}", format.name, isa_name(isa),
                             shape.tokens, shape.past, bad);
          for (int64_t t = bad; t < shape.tokens; ++t) {
            EXPECT_FALSE(std::isfinite(out[static_cast<size_t>(t * c.q_width() + 1)]))
                << format.name << " " << isa_name(isa) << ", token " << t;
          }
        }
      }
    }
  }
}

TEST(Attention, WindowsCapsAndSlopesEqualTheirDefinitions) {
  ThreadPool pool(2);
  for (const Shape& shape : kShapes) {
    const ModelConfig c = config_of(shape);
    const Inputs in(shape);
    const Exact exact = in.exact();
    const std::vector<float> slopes = alibi_slopes(shape.heads);
    const double scale = 0.5 / std::sqrt(static_cast<double>(shape.head_dim));
    for (const AttentionRules& rules : {AttentionRules{.scale = scale, .window = 1},
                                        {.scale = scale, .window = 7},
                                        {.scale = scale, .window = 512},
                                        {.scale = scale, .softcap = 1.5, .window = 600},
                                        {.scale = scale, .softcap = 0.75},
                                        {.scale = scale, .slopes = slopes},
                                        {.scale = scale, .window = 90, .slopes = slopes}}) {
      const std::vector<double> expected = slow(in.q.view, exact, c, rules);
      // A cap of 1e-6 of itself, a slope's product of one rounding, both in exponents.
      const double farthest = static_cast<double>(in.k.view.rows);
      const double bound =
          rounding_bound(in, exact, c, scale) +
          largest_norm(exact.values, c.head_dim) *
              std::expm1(2 * (2e-6 * rules.softcap + (slopes.front() * farthest + 1) * 2.4e-7));
      for (const Isa isa : usable_isas()) {
        const Context ctx{.pool = pool, .isa = isa};
        const std::string what = fmt::format("{} tokens after {}, window {}, cap {}, {} slopes, {}",
                                             shape.tokens, shape.past, rules.window, rules.softcap,
                                             rules.slopes.size(), isa_name(isa));
        expect_near(over_rows(in, c, rules, ctx), expected, bound, what);
        expect_near(over_cache(in, c, rules, kv_formats().front(), ctx), expected, bound, what);
      }
    }
  }
}

TEST(Attention, NumbersThatAreNotFiniteReachNoPositionWhoseWindowIsLater) {
  ThreadPool pool(2);
  const Shape shape = {6, 2, 20, 150, 40};
  const ModelConfig c = config_of(shape);
  const AttentionRules rules{.scale = 0.2, .window = 30};
  const Inputs clean(shape);
  Inputs in(shape);
  for (const int64_t position : {20, 60, 61}) {
    in.v.view.at(position, 1) = std::numeric_limits<float>::infinity();
    in.v.view.at(position, 21) = std::numeric_limits<float>::quiet_NaN();
  }
  for (const Isa isa : usable_isas()) {
    const Context ctx{.pool = pool, .isa = isa};
    const std::vector<float> expected = over_rows(clean, c, rules, ctx);
    const std::vector<float> out = over_rows(in, c, rules, ctx);
    for (int64_t t = 0; t < shape.tokens; ++t) {
      const int64_t own = shape.past + t;
      const bool sees = (own >= 20 && own < 50) || (own >= 60 && own < 91);
      for (int64_t i = 0; i < c.q_width(); ++i) {
        const size_t at = static_cast<size_t>(t * c.q_width() + i);
        ASSERT_TRUE(sees || out[at] == expected[at]) << isa_name(isa) << " " << t;
      }
      EXPECT_EQ(std::isfinite(out[static_cast<size_t>(t * c.q_width() + 1)]), !sees) << t;
    }
  }
}

TEST(Attention, SlopesAreThoseOfThePublishedModels) {
  EXPECT_EQ(alibi_slopes(8), (std::vector<float>{0.5f, 0.25f, 0.125f, 0.0625f, 0.03125f, 0.015625f,
                                                 0.0078125f, 0.00390625f}));
  const std::vector<float> twelve = alibi_slopes(12);  // those of 8, then the odd ones of 16
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(twelve[8 + i], std::exp2(-0.5f * static_cast<float>(2 * i + 1)));
  }
}

TEST(RopeTable, RotatesEachPairByItsAngle) {
  const std::vector<float> frequencies = {1.0f, 0.1f};
  RopeTable table;
  table.add(100, 4, frequencies);
  EXPECT_EQ(table.add(5, 3, frequencies), 4);
  Numbers x(3, 12, 1);  // two heads of 6: the last two numbers of each stay
  const std::vector<float> before = x.data;
  table.apply(6, x.view, 4);
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

// Speed of attention over a long cache, by form of the cache: one token (GB/s of keys and values)
// and a prompt's chunk of 512 tokens (Gflop/s of the products, masked ones left out). The best of
// several rounds, one layer. Usage: bench_attention [THREADS]
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "base/rng.h"
#include "engine/attention.h"
#include "engine/kv_cache.h"
#include "measure.h"

namespace twofold {
namespace {

constexpr int kRounds = 15;

struct Heads {
  const char* name;
  int64_t heads, kv_heads, head_dim;
};
constexpr Heads kHeads[] = {{"135M", 9, 3, 64}, {"7B, shared keys", 32, 8, 128}};

std::vector<float> numbers(int64_t count, uint64_t seed) {
  std::vector<float> x(static_cast<size_t>(count));
  Rng rng(seed);
  for (float& v : x) v = static_cast<float>(rng.normal());
  return x;
}

double best_seconds(const AttentionInput& input, const ModelConfig& c, const Context& ctx) {
  double best = INFINITY;
  for (int i = 0; i < kRounds; ++i) {
    best = std::min(best, seconds([&] {
                      attention({&input, 1}, c,
                                {.scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim))}, ctx);
                    }));
  }
  return best;
}

void run(const Heads& shape, int64_t depth, const Context& ctx) {
  ModelConfig c;
  c.layers = 1;
  c.heads = shape.heads;
  c.kv_heads = shape.kv_heads;
  c.head_dim = shape.head_dim;
  const std::vector<float> k = numbers(depth * c.kv_width(), 1),
                           v = numbers(depth * c.kv_width(), 2);
  constexpr int64_t kTokens = 512;
  std::vector<float> q = numbers(kTokens * c.q_width(), 3), out(q.size());
  for (const KvFormat& format : kv_formats()) {
    KvCache cache(c, depth, format);
    cache.reserve(depth);
    cache.layer(0).extend(0, depth);
    cache.layer(0).write(0, {k.data(), depth, c.kv_width()}, {v.data(), depth, c.kv_width()},
                         ctx.isa);
    const auto input = [&](int64_t tokens) {
      return AttentionInput{Matrix<const float>(q.data(), tokens, c.q_width()), &cache.layer(0),
                            Matrix<float>(out.data(), tokens, c.q_width())};
    };
    const double one = best_seconds(input(1), c, ctx), many = best_seconds(input(kTokens), c, ctx);
    const double pairs = static_cast<double>(kTokens * depth - kTokens * (kTokens - 1) / 2);
    fmt::print("{:<16} {:>6} {:>4}  {:>9.1f} {:>6.1f}  {:>10.2f} {:>8.0f}\n", shape.name, depth,
               format.name, one * 1e6, static_cast<double>(cache.bytes()) / one / 1e9, many * 1e3,
               4 * pairs * static_cast<double>(c.q_width()) / many / 1e9);
  }
}

}  // namespace
}  // namespace twofold

int main(int argc, char** argv) {
  using namespace twofold;
  ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  const Context ctx{.pool = pool, .isa = select_isa()};
  fmt::print("{} threads, {}\n", pool.size(), isa_name(ctx.isa));
  fmt::print("shape             depth form  1 token us   GB/s  512 tok. ms  Gflop/s\n");
  for (const Heads& shape : kHeads) {
    for (const int64_t depth : {1024, 4096, 8192}) run(shape, depth, ctx);
  }
}

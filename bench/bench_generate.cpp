// Speed of generating one token after another beside the memory it reads: tokens/s, GB/s of stored
// weights, and the share of the bandwidth that all threads reach by summing a large buffer.
// Usage: bench_generate [MODEL [THREADS]]; without arguments the model of the demo, whose weights
// fit a cache: give a larger one for figures that mean something.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "engine/model.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

constexpr int kRounds = 5;
constexpr int64_t kTokens = 24;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Bytes per second of reading 512 MB once, by dot products of a buffer with itself.
double read_bandwidth(const AlignedBuffer<float>& buffer, const Context& ctx) {
  constexpr int64_t kChunk = int64_t{1} << 14;
  const Ops& op = ops(ctx.isa);
  const int64_t chunks = static_cast<int64_t>(buffer.size()) / kChunk;
  std::vector<float> sums(static_cast<size_t>(chunks));
  const Clock::time_point start = Clock::now();
  ctx.pool.run_static(chunks, [&](int64_t begin, int64_t end, int) {
    for (int64_t c = begin; c < end; ++c) {
      const float* x = buffer.data() + c * kChunk;
      sums[static_cast<size_t>(c)] = op.dot(x, x, kChunk);
    }
  });
  const double seconds = seconds_since(start);
  // Every product is 1: a sum that is used cannot be left out.
  if (std::accumulate(sums.begin(), sums.end(), 0.0) <= 0) return 0;
  return static_cast<double>(buffer.size() * sizeof(float)) / seconds;
}

double tokens_per_second(const Model& model, const Context& ctx) {
  const ModelConfig& config = model.config();
  KvCache cache(config, std::min(config.context, kTokens + 1));
  std::vector<float> logits(static_cast<size_t>(config.vocab_size));
  const int32_t id = 1;
  const SequenceInput input{{&id, 1}, &cache};
  const Clock::time_point start = Clock::now();
  for (int64_t i = 0; i < kTokens; ++i) {
    const AlignedBuffer<float> hidden = model.forward({&input, 1}, ctx);
    model.logits({hidden.data(), 1, config.hidden}, {logits.data(), 1, config.vocab_size}, ctx);
  }
  return static_cast<double>(kTokens) / seconds_since(start);
}

int run(const std::filesystem::path& path, int threads) {
  ThreadPool pool(threads);
  const Context ctx{.pool = pool, .isa = select_isa()};
  const auto model = Model::load(path);
  AlignedBuffer<float> buffer(size_t{1} << 27);
  std::fill_n(buffer.data(), buffer.size(), 1.0f);
  std::vector<double> rates, bandwidths;
  tokens_per_second(*model, ctx);  // fills the page cache
  for (int i = 0; i < kRounds; ++i) {
    bandwidths.push_back(read_bandwidth(buffer, ctx));
    rates.push_back(tokens_per_second(*model, ctx));
  }
  const double rate = median(rates), bandwidth = median(bandwidths);
  const double bytes = static_cast<double>(model->bytes_per_token());
  fmt::print("generating with {}: {} threads, {}, median of {}\n", path.string(), pool.size(),
             isa_name(ctx.isa), kRounds);
  fmt::print("{:.1f} tokens/s, {:.1f} MB a token, {:.2f} GB/s of {:.2f} GB/s: {:.0f} %\n", rate,
             bytes / 1e6, rate * bytes / 1e9, bandwidth / 1e9, 100 * rate * bytes / bandwidth);
  return 0;
}

}  // namespace
}  // namespace twofold

int main(int argc, char** argv) {
  try {
    return twofold::run(argc > 1 ? argv[1] : TWOFOLD_SOURCE_DIR "/models/shakespeare-char",
                        argc > 2 ? std::atoi(argv[2]) : 0);
  } catch (const twofold::Error& error) {
    fmt::print(stderr, "bench_generate: {}\n", error.what());
    return 1;
  }
}

#include "pipeline/bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>

#include "base/checked_math.h"
#include "base/peak_memory.h"
#include "base/rng.h"
#include "engine/generate.h"
#include "kernels/probe.h"
#include "pipeline/doctor.h"
#include "pipeline/report.h"

namespace twofold {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// What a row measures: `prompt` tokens at once or `generated` one by one, after `depth` others.
struct Test {
  int64_t prompt = 0, generated = 0, depth = 0;
  int64_t tokens() const { return prompt + generated; }
  int64_t warm_up() const { return std::min(tokens(), prompt > 0 ? prompt : kWarmUpTokens); }
  /// Times that all matrices of the blocks are read.
  int64_t passes() const { return generated + ceil_div(prompt, kPromptChunk); }
  /// Times that the head is read.
  int64_t heads() const { return generated > 0 ? generated : 1; }

  static constexpr int64_t kWarmUpTokens = 4;
};

/// The lengths asked for; if none are, `usual`, or as much of it as `left` positions admit.
std::vector<int64_t> lengths_of(const std::vector<int64_t>& asked, int64_t usual, int64_t left,
                                std::string_view flag, const Context& ctx) {
  if (!asked.empty() || left < 1) return asked.empty() ? std::vector{usual} : asked;
  if (left < usual) {
    ctx.note(fmt::format("{} {} in place of {}: the context leaves no more", flag, left, usual));
  }
  return {std::min(usual, left)};
}

std::vector<Test> tests_of(const BenchRequest& request, const ModelConfig& config,
                           const Context& ctx) {
  std::vector<Test> tests;
  for (const int64_t depth : request.depths) {
    const int64_t left = config.context - depth;
    for (const int64_t prompt : lengths_of(request.prompts, kBenchPrompt, left, "--prompt", ctx)) {
      if (prompt > 0) tests.push_back({.prompt = prompt, .depth = depth});
    }
    for (const int64_t generated :
         lengths_of(request.generated, kBenchGenerated, left, "--generate", ctx)) {
      if (generated > 0) tests.push_back({.generated = generated, .depth = depth});
    }
  }
  if (tests.empty() || request.repetitions < 1) {
    fail(ErrorCode::kInvalidArgument, "bench",
         "expected a prompt or generation length above 0 and at least one repetition");
  }
  for (const Test& test : tests) {
    if (test.depth + test.tokens() > config.context) {
      fail(ErrorCode::kInvalidArgument, test.prompt > 0 ? "--prompt" : "--generate",
           "expected, with --depth, at most the {} positions of the model; found {} + {}",
           config.context, test.depth, test.tokens());
    }
  }
  return tests;
}

/// Runs one test over and over with one cache.
class Runner {
 public:
  Runner(const Model& model, const Test& test, const Context& ctx)
      : model_(model),
        test_(test),
        ctx_(ctx),
        cache_(model.config(), test.depth + test.tokens()),
        logits_(static_cast<size_t>(model.config().vocab_size)) {
    Rng rng(1, "bench");
    ids_.resize(static_cast<size_t>(std::max(test.depth, test.tokens())));
    const auto vocabulary = static_cast<uint64_t>(model.config().vocab_size);
    for (int32_t& id : ids_) id = static_cast<int32_t>(rng.below(vocabulary));
  }

  void fill_depth() { read(test_.depth); }

  /// @return seconds for the first `tokens` of the test, which are then forgotten.
  double run(int64_t tokens, const std::function<void()>& on_step) {
    const Clock::time_point start = Clock::now();
    if (test_.prompt > 0) {
      read(tokens);
      logits();
      on_step();
    } else {
      for (int64_t i = 0; i < tokens; ++i) {
        step({&ids_[static_cast<size_t>(i)], 1});
        logits();
        on_step();
      }
    }
    const double seconds = seconds_since(start);
    cache_.truncate(test_.depth);
    return seconds;
  }

 private:
  void step(std::span<const int32_t> ids) {
    const SequenceInput input{ids, &cache_};
    hidden_ = model_.forward({&input, 1}, ctx_);
    last_ = static_cast<int64_t>(ids.size()) - 1;
  }

  void read(int64_t tokens) {
    const std::span<const int32_t> ids(ids_);
    for (int64_t at = 0; at < tokens; at += kPromptChunk) {
      step(ids.subspan(static_cast<size_t>(at),
                       static_cast<size_t>(std::min(kPromptChunk, tokens - at))));
    }
  }

  /// Of the last token.
  void logits() {
    const int64_t width = model_.config().hidden;
    model_.logits({hidden_.data() + last_ * width, 1, width},
                  {logits_.data(), 1, model_.config().vocab_size}, ctx_);
  }

  const Model& model_;
  const Test& test_;
  const Context& ctx_;
  KvCache cache_;
  std::vector<float> logits_;
  std::vector<int32_t> ids_;
  AlignedBuffer<float> hidden_;
  int64_t last_ = 0;
};

void set_rate(BenchRow& row) {
  const auto count = static_cast<double>(row.samples.size());
  row.tokens_per_second = std::accumulate(row.samples.begin(), row.samples.end(), 0.0) / count;
  if (row.samples.size() < 2) return;
  double squares = 0;
  for (const double sample : row.samples) {
    squares += (sample - row.tokens_per_second) * (sample - row.tokens_per_second);
  }
  row.tokens_per_second_stddev = std::sqrt(squares / (count - 1));
}

/// Repetitions of one test. @param label names the row on the progress bar.
void repeat(BenchRow& row, const Model& model, const Test& test, int64_t repetitions,
            const std::string& label, const Context& ctx) {
  const int64_t steps_each = test.prompt > 0 ? 1 : test.generated;
  const int64_t warm_steps = test.prompt > 0 ? 1 : test.warm_up();
  const int64_t total = warm_steps + repetitions * steps_each;
  int64_t done = 0;
  const auto on_step = [&] { ctx.report(label, ++done, total); };
  reset_peak_memory();
  Runner runner(model, test, ctx);
  ctx.report(label, 0, total);
  runner.fill_depth();
  runner.run(test.warm_up(), on_step);
  for (int64_t i = 0; i < repetitions; ++i) {
    ctx.check_cancelled();
    row.samples.push_back(static_cast<double>(test.tokens()) / runner.run(test.tokens(), on_step));
  }
  row.peak_memory_bytes = peak_memory_bytes().value_or(0);
  set_rate(row);
}

void set_shares(BenchRow& row, const Test& test, const ModelTraffic& traffic) {
  const auto sum = [&](int64_t blocks, int64_t block, int64_t head) {
    return static_cast<double>(blocks) * static_cast<double>(block) +
           static_cast<double>(test.heads()) * static_cast<double>(head);
  };
  const double tests_per_second = row.tokens_per_second / static_cast<double>(test.tokens());
  row.bytes_per_token = traffic.bytes_per_token();
  row.bytes_per_second =
      tests_per_second * sum(test.passes(), traffic.block_bytes, traffic.head_bytes);
  row.operations_per_second =
      tests_per_second * 2 * sum(test.tokens(), traffic.block_weights, traffic.head_weights);
  row.bandwidth_share = row.bytes_per_second / row.read_bytes_per_second;
  row.peak_share = row.operations_per_second / row.integer_peak;
}

}  // namespace

std::string BenchRow::test() const {
  const std::string name =
      prompt > 0 ? fmt::format("pp{}", prompt) : fmt::format("tg{}", generated);
  return depth > 0 ? fmt::format("{} @ d{}", name, depth) : name;
}

std::vector<BenchRow> run_bench(const Model& model, const std::string& name,
                                const BenchRequest& request, const Context& ctx,
                                const std::function<void(const BenchRow&)>& on_row) {
  const std::vector<Test> tests = tests_of(request, model.config(), ctx);
  const ModelTraffic traffic = model_traffic(model.files(), ctx);
  std::vector<int64_t> counts = request.threads;
  if (counts.empty()) counts.push_back(ctx.pool.size());
  std::vector<BenchRow> rows;
  for (const int64_t threads : counts) {
    ThreadPool pool(static_cast<int>(threads));
    const Context own{.pool = pool,
                      .isa = ctx.isa,
                      .activations = ctx.activations,
                      .cancel = ctx.cancel,
                      .progress = ctx.progress,
                      .log = ctx.log};
    const double integer_peak = measure_peaks(own).integer.operations_per_second;
    std::vector<double> before = measure_read_bandwidth(own);
    for (const Test& test : tests) {
      BenchRow row;
      row.model = name;
      row.format = traffic.format;
      row.bytes = model.files().checkpoint->stored_bytes();
      row.parameters = model.files().parameters();
      row.threads = pool.size();
      row.prompt = test.prompt;
      row.generated = test.generated;
      row.depth = test.depth;
      row.isa = isa_name(ctx.isa);
      row.activations = activations_name(ctx.activations);
      const size_t number = rows.size() + 1, all = counts.size() * tests.size();
      repeat(row, model, test, request.repetitions,
             fmt::format("{} of {}: {}, threads {}", number, all, row.test(), threads), own);
      std::vector<double> after = measure_read_bandwidth(own);
      std::vector<double> passes = before;
      passes.insert(passes.end(), after.begin(), after.end());
      row.read_bytes_per_second = median(std::move(passes));
      row.integer_peak = integer_peak;
      set_shares(row, test, traffic);
      if (on_row) on_row(row);
      rows.push_back(std::move(row));
      before = std::move(after);
    }
  }
  return rows;
}

}  // namespace twofold

// Scores of tiny models against a direct slow computation in float64.
#include "eval/evaluate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/json.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "support/paths.h"

namespace twofold {
namespace {

using Texts = std::vector<std::vector<int32_t>>;

std::shared_ptr<const Model> tiny(const std::string& name) {
  return Model::load(testing::test_data("tiny-models") / name);
}

std::vector<int32_t> random_ids(int64_t count, int64_t vocab, uint64_t seed) {
  Rng rng(seed, "evaluate_test");
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(vocab));
  return ids;
}

/// Log-probabilities of every position of one window, one forward call, in float64.
std::vector<std::vector<double>> slow_log_probs(const Model& model, const std::vector<int32_t>& ids,
                                                const Context& ctx) {
  const SequenceInput input{ids, nullptr};
  const auto hidden = model.forward({&input, 1}, ctx);
  const int64_t vocab = model.config().vocab_size, width = model.config().hidden;
  std::vector<std::vector<double>> rows;
  for (int64_t p = 0; p < std::ssize(ids); ++p) {
    std::vector<float> logits(vocab);
    model.logits({hidden.data() + p * width, 1, width}, {logits.data(), 1, vocab}, ctx);
    double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<double>(x));
    std::vector<double> row;
    for (const float x : logits) row.push_back(static_cast<double>(x) - std::log(sum));
    rows.push_back(std::move(row));
  }
  return rows;
}

struct SlowScore {
  std::vector<double> nll, window_means, last_positions, kl;
  int64_t agreements = 0;
};

SlowScore slow_score(const Model& model, const Model& reference, const Protocol& protocol,
                     const Texts& texts, int64_t window, const Context& ctx) {
  SlowScore score;
  for (const auto& ids : texts) {
    for (const ScoreWindow& cut : protocol.cut(ids, window, {.config = model.config()})) {
      const auto q = slow_log_probs(model, cut.ids, ctx);
      const auto p = slow_log_probs(reference, cut.ids, ctx);
      double sum = 0;
      for (int64_t i = 0; i < std::ssize(cut.targets); ++i) {
        const auto& lq = q[cut.first + i];
        const auto& lp = p[cut.first + i];
        score.nll.push_back(-lq[cut.targets[i]]);
        sum += score.nll.back();
        double kl = 0;
        for (size_t v = 0; v < lp.size(); ++v) kl += std::exp(lp[v]) * (lp[v] - lq[v]);
        score.kl.push_back(kl);
        score.agreements +=
            std::ranges::max_element(lq) - lq.begin() == std::ranges::max_element(lp) - lp.begin();
      }
      score.last_positions.push_back(score.nll.back());
      score.window_means.push_back(sum / static_cast<double>(cut.targets.size()));
    }
  }
  return score;
}

double mean_of(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

double standard_error_of(const std::vector<double>& x) {
  double sum = 0;
  for (const double value : x) sum += (value - mean_of(x)) * (value - mean_of(x));
  const double n = static_cast<double>(x.size());
  return std::sqrt(sum / (n - 1) / n);
}

class Evaluate : public ::testing::Test {
 protected:
  ThreadPool pool_{2};
  Context ctx_{.pool = pool_, .isa = select_isa()};
};

TEST_F(Evaluate, EveryProtocolEqualsTheSlowComputation) {
  const auto model = tiny("gpt2-untied"), reference = tiny("gpt2");
  ASSERT_EQ(model->config().vocab_size, reference->config().vocab_size);
  const int64_t vocab = model->config().vocab_size, window = 12;
  for (const Protocol& protocol : all_protocols()) {
    Texts texts = {random_ids(150, vocab, 1)};
    if (!protocol.needs_text) texts = {random_ids(9, vocab, 2), random_ids(2, vocab, 3)};
    const EvalRequest request{.protocol = std::string(protocol.name),
                              .window = protocol.needs_text ? window : 0};
    const EvalResult result =
        evaluate(*model, reference.get(), texts, 300, request, {.config = model->config()}, ctx_);
    SlowScore slow = slow_score(*model, *reference, protocol, texts,
                                protocol.needs_text ? window : model->config().context, ctx_);
    const bool windows = protocol.mean == Mean::kOfWindows;
    const double nats = mean_of(windows ? slow.window_means : slow.nll);
    const double error = standard_error_of(windows ? slow.window_means : slow.nll);
    // Float32 logits of size below 10 and sums of less than 1000 terms: 1e-5 is 8 roundings.
    EXPECT_NEAR(result.nats_per_token, nats, 1e-5) << protocol.name;
    EXPECT_NEAR(result.nats_last_position, mean_of(slow.last_positions), 1e-5) << protocol.name;
    EXPECT_NEAR(result.perplexity, std::exp(nats), 1e-5 * std::exp(nats)) << protocol.name;
    EXPECT_NEAR(result.perplexity_stderr, std::exp(nats) * error, 1e-4 * std::exp(nats));
    EXPECT_EQ(result.tokens, std::ssize(slow.nll)) << protocol.name;
    EXPECT_EQ(result.windows, std::ssize(slow.window_means)) << protocol.name;
    ASSERT_TRUE(result.divergence.has_value());
    EXPECT_NEAR(result.divergence->kl_mean, mean_of(slow.kl), 1e-5) << protocol.name;
    std::ranges::sort(slow.kl);
    const auto rank = [&](double q) {
      return slow.kl[static_cast<size_t>(std::ceil(q * static_cast<double>(slow.kl.size()))) - 1];
    };
    EXPECT_NEAR(result.divergence->kl_median, rank(0.5), 1e-5) << protocol.name;
    EXPECT_NEAR(result.divergence->kl_p99, rank(0.99), 1e-5) << protocol.name;
    EXPECT_DOUBLE_EQ(result.divergence->top1_agreement,
                     static_cast<double>(slow.agreements) / static_cast<double>(slow.nll.size()));
    int64_t tokens = 0;
    for (const auto& ids : texts) tokens += std::ssize(ids);
    ASSERT_TRUE(result.bits_per_byte.has_value());
    EXPECT_NEAR(*result.bits_per_byte, nats / std::log(2.0) * static_cast<double>(tokens) / 300,
                1e-5);
  }
}

TEST_F(Evaluate, DivergenceOfAModelFromItselfIsZero) {
  const auto model = tiny("llama-gqa");
  const auto again = tiny("llama-gqa");
  const Texts texts = {random_ids(100, model->config().vocab_size, 4)};
  const EvalRequest request{.protocol = "gptq-2048", .window = 10};
  for (const Model* reference : {model.get(), again.get()}) {
    const EvalResult result =
        evaluate(*model, reference, texts, 0, request, {.config = model->config()}, ctx_);
    EXPECT_EQ(result.divergence->kl_mean, 0);
    EXPECT_EQ(result.divergence->kl_p99, 0);
    EXPECT_EQ(result.divergence->top1_agreement, 1);
    EXPECT_FALSE(result.bits_per_byte.has_value());
  }
}

TEST_F(Evaluate, SeveralModelsAtOnceGiveWhatEachGivesAlone) {
  const auto a = tiny("gpt2"), b = tiny("gpt2-untied");
  const Texts texts = {random_ids(400, a->config().vocab_size, 5)};
  const EvalRequest request{.protocol = "nanogpt-full", .window = 8};
  const Model* const models[] = {a.get(), b.get()};
  const auto together =
      evaluate_all(models, a.get(), texts, 0, request, {.config = a->config()}, ctx_);
  for (size_t i = 0; i < 2; ++i) {
    OrderedJson alone =
        to_json(evaluate(*models[i], a.get(), texts, 0, request, {.config = a->config()}, ctx_));
    OrderedJson with = to_json(together[i]);
    alone.erase("seconds");
    with.erase("seconds");
    EXPECT_EQ(alone, with);
  }
}

TEST_F(Evaluate, ResultDoesNotDependOnThreads) {
  const auto a = tiny("gpt2"), b = tiny("gpt2-untied");
  const Texts texts = {random_ids(300, a->config().vocab_size, 6)};
  std::vector<OrderedJson> results;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    const Context ctx{.pool = pool, .isa = select_isa()};
    results.push_back(
        to_json(evaluate(*b, a.get(), texts, 0, {.protocol = "llama.cpp-512", .window = 16},
                         {.config = a->config()}, ctx)));
    results.back().erase("seconds");
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST_F(Evaluate, OnlyTheFirstWindowsAreScoredIfAsked) {
  const auto model = tiny("gpt2");
  const std::vector<int32_t> ids = random_ids(100, model->config().vocab_size, 7);
  const Texts all = {ids}, two = {{ids.begin(), ids.begin() + 20}};
  EvalRequest request{.protocol = "gptq-2048", .window = 10};
  const auto whole = evaluate(*model, nullptr, two, 0, request, {.config = model->config()}, ctx_);
  request.max_windows = 2;
  const auto first = evaluate(*model, nullptr, all, 0, request, {.config = model->config()}, ctx_);
  EXPECT_EQ(first.windows, 2);
  EXPECT_EQ(first.nats_per_token, whole.nats_per_token);
}

TEST_F(Evaluate, NameHoldsTheWindowIfItIsNotTheUsualOne) {
  const auto model = tiny("gpt2");
  const Texts texts = {random_ids(200, model->config().vocab_size, 8)};
  const auto name = [&](int64_t window) {
    return evaluate(*model, nullptr, texts, 0, {.protocol = "nanogpt-full", .window = window},
                    {.config = model->config()}, ctx_)
        .protocol;
  };
  EXPECT_EQ(name(0), "nanogpt-full");
  EXPECT_EQ(name(model->config().context), "nanogpt-full");
  EXPECT_EQ(name(7), "nanogpt-full:window=7");
}

TEST_F(Evaluate, TokenHashIsThatOfLittleEndianIntegers) {
  const auto model = tiny("gpt2");
  const Texts texts = {{1, 2, 3}};
  const auto result = evaluate(*model, nullptr, texts, 0, {.protocol = "sequences"},
                               {.config = model->config()}, ctx_);
  EXPECT_EQ(result.token_sha256, sha256_hex(std::string_view("\1\0\0\0\2\0\0\0\3\0\0\0", 12)));
}

TEST_F(Evaluate, RefusesWhatCannotBeScored) {
  const auto model = tiny("gpt2"), llama = tiny("llama-gqa");
  const int64_t vocab = model->config().vocab_size, context = model->config().context;
  const auto run = [&](const Texts& texts, const EvalRequest& request) {
    return evaluate(*model, nullptr, texts, 0, request, {.config = model->config()}, ctx_);
  };
  const Texts texts = {random_ids(4 * context, vocab, 9)};
  const auto code_of = [&](const Texts& t, const EvalRequest& request) {
    try {
      run(t, request);
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << "expected an error for " << request.protocol;
    return ErrorCode::kInternal;
  };
  constexpr ErrorCode kInvalid = ErrorCode::kInvalidArgument;
  EXPECT_EQ(code_of(texts, {.protocol = "gptq-2048", .window = context + 1}), kInvalid);
  EXPECT_EQ(code_of({{1, 2, 3}}, {.protocol = "gptq-2048", .window = 4}), kInvalid);
  EXPECT_EQ(code_of(texts, {.protocol = "gptq-2048", .window = 1}), kInvalid);
  EXPECT_EQ(code_of(texts, {.protocol = "sequences", .window = 4}), kInvalid);
  EXPECT_EQ(code_of({{1, static_cast<int32_t>(vocab)}}, {.protocol = "sequences"}), kInvalid);
  EXPECT_EQ(code_of({{1, -1}}, {.protocol = "sequences"}), kInvalid);
  EXPECT_EQ(code_of({}, {.protocol = "sequences"}), kInvalid);
}

TEST_F(Evaluate, StopsWhenCancelled) {
  const auto model = tiny("gpt2");
  const std::atomic<bool> cancel{true};
  const Context ctx{.pool = pool_, .isa = select_isa(), .cancel = &cancel};
  const Texts texts = {random_ids(100, model->config().vocab_size, 10)};
  try {
    evaluate(*model, nullptr, texts, 0, {.protocol = "nanogpt-full"}, {.config = model->config()},
             ctx);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  }
}

}  // namespace
}  // namespace twofold

#include "engine/generate.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/load_tokenizer.h"
#include "io/temporary_folder.h"
#include "support/paths.h"

namespace twofold {
namespace {

class Generate : public ::testing::Test {
 protected:
  GenerateResult run(std::vector<int32_t> prompt, GenerateOptions options) {
    options.sampler.temperature = 0;
    streamed_.clear();
    return generate(*model_, tokenizer_.get(), prompt, options,
                    {.pool = pool_, .isa = select_isa()},
                    [&](std::string_view piece) { streamed_ += piece; });
  }
  ThreadPool pool_{1};
  std::shared_ptr<const Model> model_ =
      Model::load(testing::source_dir() / "models" / "stories260k" / "stories260K.bin");
  std::unique_ptr<Tokenizer> tokenizer_ = load_tokenizer(model_->files());
  std::string streamed_;
};

TEST_F(Generate, StopStringsAreCutAndNeverStreamed) {
  const GenerateResult whole = run({1}, {.max_tokens = 60});
  ASSERT_GT(whole.text.size(), 60u);
  // A stop string that begins and ends inside tokens.
  const std::string stop = whole.text.substr(41, 9);
  const GenerateResult cut = run({1}, {.max_tokens = 60, .stop = {"never said", stop}});
  EXPECT_EQ(cut.reason, StopReason::kStopString);
  EXPECT_EQ(cut.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(streamed_, cut.text);
}

TEST_F(Generate, HeldBackTextComesAtTheEnd) {
  const GenerateResult whole = run({1}, {.max_tokens = 20});
  const std::string tail = whole.text.substr(whole.text.size() - 2) + "@";
  const GenerateResult again = run({1}, {.max_tokens = 20, .stop = {tail}});
  EXPECT_EQ(again.text, whole.text);
  EXPECT_EQ(streamed_, whole.text);
}

TEST_F(Generate, TheContextEndsTheText) {
  const GenerateResult result =
      run({1, 2, 3}, {.max_tokens = -1, .ignore_eos = true, .context = 10});
  EXPECT_EQ(result.reason, StopReason::kContextFull);
  // The last token needs no position of its own.
  EXPECT_EQ(result.ids.size(), 8u);
}

TEST_F(Generate, BadRequestsAreRefused) {
  EXPECT_THROW(run({}, {}), Error);
  EXPECT_THROW(run(std::vector<int32_t>(11, 1), {.context = 10}), Error);
  EXPECT_THROW(run({1}, {.context = 1 << 20}), Error);
}

TEST_F(Generate, ALongPromptGivesTheSameAsOneToken) {
  const GenerateResult whole = run({1}, {.max_tokens = 30});
  std::vector<int32_t> prompt = {1};
  prompt.insert(prompt.end(), whole.ids.begin(), whole.ids.begin() + 20);
  const GenerateResult rest = run(prompt, {.max_tokens = 10});
  EXPECT_EQ(rest.ids, std::vector<int32_t>(whole.ids.begin() + 20, whole.ids.end()));
}

TEST_F(Generate, ACacheOfEarlierTurnsChangesNothingButTheWork) {
  const std::vector<int32_t> first = {1, 400, 410, 420};
  TokenCache cache(*model_, 64, "f32");
  GenerateOptions options{.max_tokens = 6, .cache = &cache};
  const GenerateResult one = run(first, options);
  EXPECT_EQ(one.cached_tokens, 0);
  EXPECT_EQ(one.ids, run(first, {.max_tokens = 6}).ids);
  // What was said and answered, and more: the last token generated was not run yet.
  std::vector<int32_t> second = first;
  second.insert(second.end(), one.ids.begin(), one.ids.end());
  second.insert(second.end(), {430, 440});
  const GenerateResult two = run(second, options);
  EXPECT_EQ(two.cached_tokens, std::ssize(first) + 5);
  EXPECT_EQ(two.ids, run(second, {.max_tokens = 6}).ids);
  // Another turn in place of the second; then the same again, of which the last token is run.
  const std::vector<int32_t> third = {1, 400, 410, 99, 98};
  EXPECT_EQ(run(third, options).cached_tokens, 3);
  const GenerateResult again = run(third, options);
  EXPECT_EQ(again.cached_tokens, 4);
  EXPECT_EQ(again.ids, run(third, {.max_tokens = 6}).ids);
  EXPECT_THROW(run(std::vector<int32_t>(65, 1), options), Error);
  EXPECT_THROW(TokenCache(*model_, 1 << 20, "f32"), Error);
}

TEST_F(Generate, MoreEndTokensEndTheText) {
  const GenerateResult whole = run({1}, {.max_tokens = 20});
  const int32_t end = whole.ids[7];
  const auto first = std::find(whole.ids.begin(), whole.ids.end(), end);
  const GenerateResult cut = run({1}, {.max_tokens = 20, .end_ids = {end}});
  EXPECT_EQ(cut.reason, StopReason::kEndToken);
  EXPECT_EQ(cut.ids, std::vector<int32_t>(whole.ids.begin(), first));
}

/// LongRoPE with other angles beyond 48 positions, of 96.
class LongRope : public ::testing::Test {
 protected:
  std::vector<float> last_logits(std::span<const int32_t> ids) const {
    const SequenceInput input{ids, nullptr};
    const AlignedBuffer<float> states = model_->forward({&input, 1}, ctx_);
    const ModelConfig& c = model_->config();
    std::vector<float> logits(static_cast<size_t>(c.vocab_size));
    model_->logits({states.data() + (std::ssize(ids) - 1) * c.hidden, 1, c.hidden},
                   {logits.data(), 1, c.vocab_size}, ctx_);
    return logits;
  }
  /// What generating without any cache gives: a whole pass for every token.
  std::vector<int32_t> by_whole_passes(std::vector<int32_t> ids, int64_t count) const {
    const size_t first = ids.size();
    for (int64_t i = 0; i < count; ++i) {
      const std::vector<float> logits = last_logits(ids);
      ids.push_back(static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin()));
    }
    return {ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end()};
  }
  GenerateResult run(std::span<const int32_t> prompt, int64_t count, TokenCache* cache) const {
    return generate(
        *model_, nullptr, prompt,
        {.max_tokens = count, .sampler = {.temperature = 0}, .ignore_eos = true, .cache = cache},
        ctx_);
  }
  static std::vector<int32_t> text(int32_t length, int32_t step) {
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < length; ++i) ids.push_back((i * step + 5) % 96);
    return ids;
  }
  ThreadPool pool_{1};
  const Context ctx_{.pool = pool_, .isa = select_isa()};
  std::shared_ptr<const Model> model_ =
      Model::load(testing::test_data("tiny-models/phi3-longrope"));
};

TEST_F(LongRope, AnglesChangeWhereATextGrowsBeyondTheOriginalContext) {
  for (const int32_t step : {29, 31, 37, 41, 43}) {
    const std::vector<int32_t> prompt = text(30, step);
    const std::vector<int32_t> expected = by_whole_passes(prompt, 40);
    EXPECT_EQ(run(prompt, 40, nullptr).ids, expected) << step;
    TokenCache cache(*model_, 96, "f32");
    EXPECT_EQ(run(prompt, 40, &cache).ids, expected) << step;
    EXPECT_EQ(run(prompt, 66, nullptr).ids.size(), 66u) << "up to the last position";
  }
}

TEST_F(LongRope, TurnsOfAConversationGetTheAnglesOfTheirLength) {
  TokenCache cache(*model_, 96, "f32");
  for (const int32_t step : {29, 31, 37}) {
    // Within, beyond by the prompt, within again, and beyond again by what is generated.
    const std::vector<int32_t> all = text(80, step);
    for (const auto& [length, kept] :
         std::vector<std::pair<size_t, int64_t>>{{20, 0}, {40, 20}, {60, 0}, {80, 60}, {30, 0}}) {
      const std::span<const int32_t> prompt = std::span(all).first(length);
      const GenerateResult result = run(prompt, 8, &cache);
      EXPECT_EQ(result.ids, by_whole_passes({prompt.begin(), prompt.end()}, 8)) << length;
      EXPECT_GE(result.cached_tokens, length == 20 ? 0 : kept) << length;
    }
  }
}

TEST_F(LongRope, KeysOfOtherAnglesAreRefused) {
  const std::vector<int32_t> ids = text(60, 29);
  KvCache cache(model_->config(), 96);
  const auto run = [&](size_t first, size_t count) {
    const SequenceInput input{std::span(ids).subspan(first, count), &cache};
    model_->forward({&input, 1}, ctx_);
  };
  cache.expect(48);
  run(0, 48);
  testing::expect_error(ErrorCode::kInvalidArgument,
                        "cache: expected keys of a sequence of 49 positions, found those of one "
                        "of 48",
                        [&] { run(48, 1); });
  cache.truncate(0);
  cache.expect(60);
  run(0, 20);
  run(20, 40);
  EXPECT_EQ(cache.length(), 60);
}

}  // namespace
}  // namespace twofold

#include "engine/generate.h"

#include <gtest/gtest.h>

#include "engine/load_tokenizer.h"
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

}  // namespace
}  // namespace twofold

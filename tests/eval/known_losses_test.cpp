// Losses that separate implementations have measured (models and texts as in NOTICE).
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/load_tokenizer.h"
#include "eval/evaluate.h"
#include "support/paths.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

std::string_view stripped(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::vector<std::string> first_stories(const std::string& file, size_t count) {
  constexpr std::string_view kMark = "<|endoftext|>";
  std::vector<std::string> stories;
  for (size_t at = 0; at < file.size() && stories.size() < count;) {
    const size_t end = std::min(file.find(kMark, at), file.size());
    const std::string_view story = stripped(std::string_view(file).substr(at, end - at));
    if (!story.empty()) stories.emplace_back(story);
    at = end + kMark.size();
  }
  return stories;
}

/// Each story alone from BOS; tokens beyond the context are left out.
std::vector<std::vector<int32_t>> sequences_of(const Tokenizer& tokenizer, const fs::path& text,
                                               const ModelConfig& config, int32_t unknown) {
  std::vector<std::vector<int32_t>> sequences;
  for (const std::string& story : first_stories(testing::read_file(text), 100)) {
    std::vector<int32_t> ids = {1};
    for (const int32_t id : tokenizer.encode(story)) ids.push_back(id < 0 ? unknown : id);
    if (std::ssize(ids) > config.context) ids.resize(static_cast<size_t>(config.context));
    sequences.push_back(std::move(ids));
  }
  return sequences;
}

struct Known {
  const char* model;
  const char* text;
  double loss;
  int64_t tokens;
};

TEST(KnownLosses, TinyStoriesModelsGiveTheLossesMeasuredElsewhere) {
  for (const Known& known :
       {Known{"stories260k/stories260K.bin", "ts-calibration.txt", 1.4076, 37072},
        Known{"stories260k/stories260K.bin", "ts-eval.txt", 1.5457, 37281},
        Known{"babyllama-tok105/model5000.bin", "ts-calibration.txt", 0.6985, 25500},
        Known{"babyllama-tok105/model5000.bin", "ts-eval.txt", 0.7858, 25500}}) {
    const auto model = Model::load(testing::source_dir() / "models" / known.model);
    const auto tokenizer = load_tokenizer(model->files());
    ASSERT_NE(tokenizer, nullptr) << known.model;
    const auto texts =
        sequences_of(*tokenizer, testing::test_data("text") / known.text, model->config(), 0);
    ThreadPool pool;
    const EvalResult result =
        evaluate(*model, nullptr, texts, 0, {.protocol = "sequences"}, {.config = model->config()},
                 {.pool = pool, .isa = select_isa()});
    EXPECT_EQ(result.tokens, known.tokens) << known.model << " " << known.text;
    EXPECT_NEAR(result.nats_per_token, known.loss, 1e-3) << known.model << " " << known.text;
  }
}

// The file comes by tools/get-smollm2. 19.922: transformers library, float32, the same weights.
TEST(KnownLosses, SmolLm2GivesThePerplexityOfTheTransformersLibrary) {
  const fs::path file =
      testing::source_dir() / "models" / "downloads" / "SmolLM2-135M-Instruct.gguf";
  if (!fs::exists(file)) GTEST_SKIP() << "run tools/get-smollm2: no " << file;
  const auto model = Model::load(file);
  const auto tokenizer = load_tokenizer(model->files());
  ASSERT_NE(tokenizer, nullptr);
  const std::string text = testing::read_file(testing::test_data("text/wiki.test.raw"));
  const std::vector<std::vector<int32_t>> texts = {tokenizer->encode(text)};
  ThreadPool pool;
  const EvalResult result = evaluate(
      *model, nullptr, texts, std::ssize(text), {.protocol = "gptq-2048", .max_windows = 10},
      {.config = model->config()}, {.pool = pool, .isa = select_isa()});
  EXPECT_EQ(result.windows, 10);
  EXPECT_NEAR(result.perplexity, 19.922, 19.922e-3);
}

}  // namespace
}  // namespace twofold

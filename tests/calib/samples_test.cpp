#include "calib/samples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "base/sha256.h"
#include "calib/builtin_texts.h"
#include "calib/documents.h"
#include "engine/load_tokenizer.h"
#include "io/temporary_folder.h"
#include "support/paths.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;
using testing::expect_error;
using testing::read_file;
using testing::TemporaryFolder;
using testing::test_data;
using Windows = std::vector<std::vector<int32_t>>;

const Tokenizer& gpt2() {
  static const auto tokenizer =
      make_tokenizer_from_json(read_file(test_data("tokenizers/gpt2/tokenizer.json")),
                               "{\"eos_token\": \"<|endoftext|>\"}", "gpt2");
  return *tokenizer;
}

CalibrationOptions stories(int64_t samples, int64_t context, Sampling sampling) {
  return {.files = {test_data("text/ts-calibration.txt")},
          .samples = samples,
          .context = context,
          .sampling = sampling};
}

std::vector<int32_t> joined(const Windows& windows) {
  std::vector<int32_t> ids;
  for (const auto& window : windows) ids.insert(ids.end(), window.begin(), window.end());
  return ids;
}

TEST(Samples, ConsecutiveWindowsAreTheTextTokenizedAsOneString) {
  const CalibrationOptions options = stories(20, 64, Sampling::kConsecutive);
  const CalibrationSamples samples = load_samples(options, gpt2(), 1024, 0);
  std::vector<int32_t> expected = gpt2().encode(read_file(options.files[0]));
  ASSERT_EQ(samples.windows.size(), 20u);
  ASSERT_EQ(samples.held_back.size(), 32u);
  const std::vector<int32_t> windows = joined(samples.windows), rest = joined(samples.held_back);
  EXPECT_TRUE(std::equal(windows.begin(), windows.end(), expected.begin()));
  EXPECT_TRUE(std::equal(rest.begin(), rest.end(), expected.begin() + 20 * 64));
  EXPECT_EQ(rest.size(), 32u * 64u) << "as many tokens as with longer windows";
  EXPECT_EQ(samples.text_sha256, sha256_hex(read_file(options.files[0])));
  EXPECT_EQ(samples.source, options.files[0].string());
}

// The ids that the Python package tokenizers gives for the same bytes (NOTICE: tests/data).
TEST(Samples, ConsecutiveWindowsAreThoseOfThePublishedTokenizer) {
  const std::string bytes = read_file(test_data("tokenizers/gpt2/tinyshakespeare-gpt2-train.bin"));
  const CalibrationOptions options{
      .files = {testing::source_dir() / "models" / "shakespeare-char" / "input.txt"},
      .samples = 32,
      .context = 2048,
      .sampling = Sampling::kConsecutive};
  const std::vector<int32_t> ids = joined(load_samples(options, gpt2(), 4096, 0).windows);
  ASSERT_LE(ids.size() * 2, bytes.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto low = static_cast<uint8_t>(bytes[2 * i]);
    const auto high = static_cast<uint8_t>(bytes[2 * i + 1]);
    ASSERT_EQ(ids[i], low | high << 8) << i;
  }
}

TEST(Samples, ShuffledWindowsAreDistinctAndDependOnTheSeedOnly) {
  const CalibrationOptions options{.samples = 40, .context = 256};
  const CalibrationSamples a = load_samples(options, gpt2(), 1024, 1);
  const CalibrationSamples again = load_samples(options, gpt2(), 1024, 1);
  const CalibrationSamples b = load_samples(options, gpt2(), 1024, 2);
  EXPECT_EQ(a.windows, again.windows);
  EXPECT_EQ(a.held_back, again.held_back);
  EXPECT_NE(a.windows, b.windows);
  EXPECT_EQ(a.text_sha256, b.text_sha256);
  std::set<std::vector<int32_t>> distinct(a.windows.begin(), a.windows.end());
  distinct.insert(a.held_back.begin(), a.held_back.end());
  EXPECT_EQ(distinct.size(), 48u);
  for (const auto& window : a.windows) EXPECT_EQ(window.size(), 256u);
}

TEST(Samples, ShuffledDocumentsAreAllThereOnceWithEosBetweenThem) {
  const TemporaryFolder folder;
  Windows documents;
  std::string lines;
  for (int i = 0; i < 30; ++i) {
    const std::string document = fmt::format("Document number {} is here.", i);
    lines += document + "\n";
    documents.push_back(gpt2().encode(document));
  }
  int64_t tokens = 29;  // separators
  for (const auto& document : documents) tokens += static_cast<int64_t>(document.size());
  const CalibrationOptions options{
      .files = {folder.write("a.lines.txt", lines)}, .samples = 1, .context = tokens};
  std::vector<int32_t> ids = load_samples(options, gpt2(), tokens, 7).windows[0];
  ids.push_back(gpt2().eos_id());
  Windows found;
  for (auto begin = ids.begin(); begin != ids.end();) {
    const auto end = std::find(begin, ids.end(), gpt2().eos_id());
    found.emplace_back(begin, end);
    begin = end + 1;
  }
  EXPECT_NE(found, documents) << "shuffled";
  std::ranges::sort(found);
  std::ranges::sort(documents);
  EXPECT_EQ(found, documents);
}

TEST(Samples, WindowsThatRepeatAreSkipped) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 400; ++i) text += " the";
  for (const SamplingMode& mode : all_samplings()) {
    const CalibrationOptions options{.files = {folder.write("a.txt", text)},
                                     .samples = 2,
                                     .context = 50,
                                     .sampling = mode.sampling};
    expect_error(
        ErrorCode::kInvalidArgument,
        "expected 2 distinct windows of 50 tokens, 100 tokens in all; found 1 in 400 tokens",
        [&] { load_samples(options, gpt2(), 64, 0); });
  }
}

TEST(Samples, HeldBackTextIsWhatIsLeftAfterTheWindows) {
  const CalibrationOptions all = stories(1, 1, Sampling::kConsecutive);
  const auto tokens = static_cast<int64_t>(gpt2().encode(read_file(all.files[0])).size());
  const auto held_back = [&](int64_t context) {
    const CalibrationOptions options = stories(1, context, Sampling::kConsecutive);
    return load_samples(options, gpt2(), tokens, 0).held_back;
  };
  EXPECT_TRUE(held_back(tokens).empty());
  EXPECT_TRUE(held_back(tokens - 1).empty()) << "one token predicts nothing";
  ASSERT_EQ(held_back(tokens - 600).size(), 2u);
  EXPECT_EQ(held_back(tokens - 600)[0].size(), 512u);
  EXPECT_EQ(held_back(tokens - 600)[1].size(), 88u);
  EXPECT_EQ(held_back(1000).size(), 4u);
}

TEST(Samples, ContextIsAtMostTheModels) {
  const CalibrationSamples samples =
      load_samples(stories(3, 2048, Sampling::kShuffled), gpt2(), 100, 0);
  for (const auto& window : samples.windows) EXPECT_EQ(window.size(), 100u);
}

TEST(Samples, FilesFollowEachOther) {
  const TemporaryFolder folder;
  const CalibrationOptions options{
      .files = {folder.write("a.txt", "one two"), folder.write("b.txt", "three four")},
      .samples = 1,
      .context = 4,
      .sampling = Sampling::kConsecutive};
  const CalibrationSamples samples = load_samples(options, gpt2(), 64, 0);
  std::vector<int32_t> expected = gpt2().encode("one two");
  const std::vector<int32_t> more = gpt2().encode("three four");
  expected.insert(expected.end(), more.begin(), more.end());
  EXPECT_EQ(samples.windows[0], expected);
  EXPECT_EQ(samples.text_sha256, sha256_hex("one twothree four"));
  EXPECT_EQ(samples.source,
            fmt::format("{}, {}", options.files[0].string(), options.files[1].string()));
}

TEST(Samples, TooLittleTextIsRefusedWithBothCounts) {
  for (const SamplingMode& mode : all_samplings()) {
    const TemporaryFolder folder;
    const fs::path path = folder.write("short.txt", "one two three");
    const CalibrationOptions options{
        .files = {path}, .samples = 128, .context = 2048, .sampling = mode.sampling};
    expect_error(
        ErrorCode::kInvalidArgument,
        "expected 128 distinct windows of 2048 tokens, 262144 tokens in all; found 0 in 3 tokens",
        [&] { load_samples(options, gpt2(), 2048, 0); });
    expect_error(ErrorCode::kInvalidArgument, path.string(),
                 [&] { load_samples(options, gpt2(), 2048, 0); });
  }
}

TEST(Samples, BadOptionsAndMissingFilesAreNamed) {
  expect_error(ErrorCode::kInvalidArgument, "found 0 of 16",
               [] { load_samples(stories(0, 16, Sampling::kShuffled), gpt2(), 64, 0); });
  expect_error(ErrorCode::kInvalidArgument, "found 2 of 0",
               [] { load_samples(stories(2, 0, Sampling::kShuffled), gpt2(), 64, 0); });
  expect_error(ErrorCode::kIo, "/nowhere/text.txt", [] {
    load_samples({.files = {"/nowhere/text.txt"}, .samples = 1, .context = 8}, gpt2(), 64, 0);
  });
  expect_error(ErrorCode::kInvalidArgument, "shuffled, consecutive",
               [] { find_sampling("sorted"); });
}

TEST(Samples, SamplingNamesAreDistinctAndFound) {
  for (const SamplingMode& mode : all_samplings()) {
    EXPECT_EQ(find_sampling(mode.name).sampling, mode.sampling);
    EXPECT_FALSE(mode.help.empty());
  }
}

// A tokenizer with a large vocabulary needs the fewest tokens; GPT-2's has 50,257 entries.
TEST(Samples, BuiltInSetHasThreeHundredThousandTokensAndFillsTheDefaultSamples) {
  const CalibrationSamples samples = load_samples({}, gpt2(), 2048, 0);
  EXPECT_EQ(samples.windows.size(), 128u);
  EXPECT_EQ(samples.held_back.size(), 4u);
  const CalibrationSamples more = load_samples({.samples = 147}, gpt2(), 2048, 0);
  EXPECT_GE(147 * 2048, 300000);
  EXPECT_EQ(more.windows.size(), 147u);
  EXPECT_EQ(samples.source, "built-in wikipedia.txt, built-in c4.lines.txt");
  Sha256 hash;
  for (const BuiltinText& text : builtin_texts()) hash.update(text.text);
  EXPECT_EQ(samples.text_sha256, hash.hex());
}

TEST(Samples, SmolLm2WindowsOfC4AreThoseOfTheTransformersLibrary) {
  const fs::path path =
      testing::source_dir() / "models" / "downloads" / "SmolLM2-135M-Instruct.gguf";
  if (!fs::exists(path)) GTEST_SKIP() << "needs " << path << " (tools/get-smollm2)";
  const auto tokenizer = load_tokenizer(open_model(path));
  const CalibrationOptions options{
      .files = {testing::source_dir() / "data" / "calibration" / "c4.lines.txt"},
      .samples = 38,
      .context = 2048,
      .sampling = Sampling::kConsecutive};
  const std::vector<int32_t> ids = joined(load_samples(options, *tokenizer, 8192, 0).windows);
  // sha256 of the ids as 32-bit little-endian numbers: AutoTokenizer of the same file, transformers
  // 5.23, the text read as one string, add_special_tokens=False.
  EXPECT_EQ(sha256_hex(std::as_bytes(std::span(ids))),
            "244929c0ea2a6fb1feb31bf1394fd5a73de0d15917162e8f262ceb5ab436d5b0");
  EXPECT_EQ(sha256_hex(std::as_bytes(std::span(ids).first(8 * 2048))),
            "5356c875a63d661125b7cff99e72c29a747b728c20e7334fb4f1368b7da19e73");
  EXPECT_EQ(load_samples({}, *tokenizer, 8192, 0).windows.size(), 128u);
}

}  // namespace
}  // namespace twofold

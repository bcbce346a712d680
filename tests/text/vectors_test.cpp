// Published vectors: ids of other programs for the same text.
#include <gtest/gtest.h>

#include "engine/load_tokenizer.h"
#include "text/tokenizer_files.h"

namespace twofold {
namespace {

using namespace testing;  // NOLINT: the helpers of the test data

std::string tiny_shakespeare() {
  return read_file(source_dir() / "models/shakespeare-char/input.txt");
}

// nanoGPT's prepare.py: the first 90 % of the characters, then the rest.
TEST(Gpt2Tokenizer, GivesTheIdsOfNanoGptForTinyShakespeare) {
  const std::string text = tiny_shakespeare();
  ASSERT_EQ(text.size(), 1115394u);
  const size_t cut = text.size() * 9 / 10;
  const auto train = gpt2().encode(std::string_view(text).substr(0, cut));
  const auto val = gpt2().encode(std::string_view(text).substr(cut));
  EXPECT_EQ(train, read_uint16(test_data("tokenizers/gpt2/tinyshakespeare-gpt2-train.bin")));
  EXPECT_EQ(val, read_uint16(test_data("tokenizers/gpt2/tinyshakespeare-gpt2-val.bin")));
  EXPECT_EQ(gpt2().decode(val), text.substr(cut));
}

TEST(Gpt2Tokenizer, CountsTheTokensOfWikiTextAsPublished) {
  const std::string text = read_file(test_data("text/wiki.test.raw"));
  ASSERT_EQ(text.size(), 1290590u);
  const auto ids = gpt2().encode(text);
  EXPECT_EQ(ids.size(), 286221u);
  EXPECT_EQ(gpt2().decode(ids), text);
}

TEST(CharacterTokenizer, GivesOneIdForEachCharacter) {
  const auto folder = source_dir() / "models" / "shakespeare-char";
  const auto tokenizer =
      make_tokenizer_from_json(read_file(folder / "tokenizer.json"),
                               read_file(folder / "tokenizer_config.json"), folder.string());
  const std::string text = tiny_shakespeare();
  const auto ids = tokenizer->encode(text);
  ASSERT_EQ(ids.size(), text.size());
  for (size_t i = 0; i < text.size(); i += 997) {
    EXPECT_EQ(tokenizer->token_text(ids[i]), text.substr(i, 1));
  }
  EXPECT_EQ(tokenizer->decode(ids), text);
  EXPECT_EQ(tokenizer->bos_id(), -1);
  EXPECT_FALSE(tokenizer->adds_bos());
}

TEST(Llama2cTokenizer, DecodesThePublishedStory) {
  const auto tokenizer = stories();
  const auto folder = source_dir() / "models" / "stories260k";
  const auto ids = read_numbers(read_file(folder / "expected-greedy-200.ids"));
  ASSERT_EQ(ids.size(), 201u);
  const std::string text = read_file(folder / "expected-greedy-200.txt");
  EXPECT_EQ(tokenizer->decode(ids, true), text);
  // Not the ids: a model need not choose the tokens that the text is encoded to.
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->encode("", {.add_special = true}), std::vector<int32_t>{1});
}

/// Vectors of llama.cpp: texts separated by a line, and a line of ids for each.
void expect_vectors(const Tokenizer& tokenizer, const std::filesystem::path& gguf) {
  const std::string separator = "\n__ggml_vocab_test__\n";
  const std::string texts = read_file(gguf.string() + ".inp");
  std::istringstream lines(read_file(gguf.string() + ".out"));
  size_t begin = 0;
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const size_t end = texts.find(separator, begin);
    const std::string text = texts.substr(begin, end - begin);
    begin = end == std::string::npos ? texts.size() : end + separator.size();
    const auto ids = tokenizer.encode(text);
    EXPECT_EQ(ids, read_numbers(line)) << "text " << count << ": " << text;
    EXPECT_EQ(tokenizer.decode(ids), text) << "text " << count;
  }
  EXPECT_EQ(count, 46);
  // The last text is empty and has no line.
  EXPECT_EQ(begin, texts.size());
  EXPECT_TRUE(tokenizer.encode("").empty());
}

class GgufVectors : public ::testing::TestWithParam<const char*> {};
TEST_P(GgufVectors, AreEqualIdForId) {
  const auto path = test_data("tokenizers/oracle-vectors/" + std::string(GetParam()));
  const auto tokenizer = make_tokenizer_from_gguf(gguf_vocabulary(read_gguf(path)), path.string());
  expect_vectors(*tokenizer, path);
  // And what import writes gives the same.
  expect_vectors(*make_tokenizer_from_json(tokenizer_to_json(*tokenizer), "", "exported"), path);
}
INSTANTIATE_TEST_SUITE_P(InTheRepository, GgufVectors,
                         ::testing::Values("ggml-vocab-gpt-2.gguf", "ggml-vocab-mpt.gguf"),
                         [](const auto& which) { return which.index == 0 ? "Gpt2" : "Mpt"; });

TEST(Gpt2Tokenizer, GivesTheVectorsOfLlamaCpp) {
  expect_vectors(gpt2(), test_data("tokenizers/oracle-vectors/ggml-vocab-gpt-2.gguf"));
}

#define OUTSIDE_OR_SKIP(variable, name)     \
  const auto variable = outside_data(name); \
  if (!variable) GTEST_SKIP() << "needs " << name << " below TWOFOLD_DATA (licence)"

TEST(LlamaTokenizer, GivesTheVectorsOfLlamaCppFromEachOfItsFiles) {
  OUTSIDE_OR_SKIP(gguf, "tokenizers/oracle-vectors/ggml-vocab-llama-spm.gguf");
  OUTSIDE_OR_SKIP(model, "tokenizers/llama2/tokenizer.model");
  OUTSIDE_OR_SKIP(json, "tokenizers/llama2/tokenizer.json");
  const auto from_gguf = make_tokenizer_from_gguf(gguf_vocabulary(read_gguf(*gguf)), "gguf");
  expect_vectors(*from_gguf, *gguf);
  expect_vectors(*make_tokenizer_from_sentencepiece(read_file(*model), "model"), *gguf);
  expect_vectors(*make_tokenizer_from_json(read_file(*json), "", "json"), *gguf);
  expect_vectors(*make_tokenizer_from_json(tokenizer_to_json(*from_gguf), "", "exported"), *gguf);
  EXPECT_EQ(from_gguf->bos_id(), 1);
  EXPECT_TRUE(from_gguf->adds_bos());
}

TEST(OptTokenizer, PutsItsBosFirstAndMergesAsGpt2) {
  OUTSIDE_OR_SKIP(vocab, "tokenizers/opt/vocab.json");
  OUTSIDE_OR_SKIP(merges, "tokenizers/opt/merges.txt");
  OUTSIDE_OR_SKIP(config, "tokenizers/opt/tokenizer_config.json");
  const auto opt = make_tokenizer_from_vocab_merges(read_file(*vocab), read_file(*merges),
                                                    read_file(*config), vocab->string());
  EXPECT_EQ(opt->bos_id(), 2);
  EXPECT_TRUE(opt->adds_bos());
  const std::string text = read_file(test_data("text/wiki.test.raw")).substr(0, 100000);
  const auto ids = opt->encode(text);
  const auto of_gpt2 = gpt2().encode(text);
  ASSERT_EQ(ids.size(), of_gpt2.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(opt->token_text(ids[i]), gpt2().token_text(of_gpt2[i]));
  }
  EXPECT_EQ(opt->decode(ids), text);
  EXPECT_EQ(opt->encode("Hello world", {.add_special = true}),
            (std::vector<int32_t>{2, 31414, 232}));
}

TEST(Gpt2Tokenizer, CountsTheTokensOfPennTreebankAsPublished) {
  OUTSIDE_OR_SKIP(text, "text/ptb/ptb.test.txt");
  EXPECT_EQ(gpt2().encode(read_file(*text)).size(), 105243u);
}

}  // namespace
}  // namespace twofold

// Published vectors: ids of other programs for the same text.
#include <gtest/gtest.h>

#include <cstring>
#include <sstream>

#include "support/paths.h"
#include "text/tokenizer.h"

namespace twofold {
namespace {

using testing::read_file;
using testing::source_dir;
using testing::test_data;

std::vector<int32_t> read_uint16(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  std::vector<int32_t> ids(bytes.size() / 2);
  for (size_t i = 0; i < ids.size(); ++i) {
    uint16_t id;
    std::memcpy(&id, bytes.data() + 2 * i, 2);
    ids[i] = id;
  }
  return ids;
}

std::unique_ptr<Tokenizer> gpt2() {
  const auto path = test_data("tokenizers/gpt2/tokenizer.json");
  return make_tokenizer_from_json(read_file(path), "", path.string());
}

// nanoGPT's prepare.py: the first 90 % of the characters, then the rest.
TEST(Gpt2Tokenizer, GivesTheIdsOfNanoGptForTinyShakespeare) {
  const auto tokenizer = gpt2();
  const std::string text = read_file(source_dir() / "models/shakespeare-char/input.txt");
  ASSERT_EQ(text.size(), 1115394u);
  const size_t cut = text.size() * 9 / 10;
  const auto train = tokenizer->encode(std::string_view(text).substr(0, cut));
  const auto val = tokenizer->encode(std::string_view(text).substr(cut));
  EXPECT_EQ(train, read_uint16(test_data("tokenizers/gpt2/tinyshakespeare-gpt2-train.bin")));
  EXPECT_EQ(val, read_uint16(test_data("tokenizers/gpt2/tinyshakespeare-gpt2-val.bin")));
  EXPECT_EQ(tokenizer->decode(val), text.substr(cut));
}

TEST(Gpt2Tokenizer, CountsTheTokensOfWikiTextAsPublished) {
  const auto tokenizer = gpt2();
  const std::string text = read_file(test_data("text/wiki.test.raw"));
  ASSERT_EQ(text.size(), 1290590u);
  const auto ids = tokenizer->encode(text);
  EXPECT_EQ(ids.size(), 286221u);
  EXPECT_EQ(tokenizer->decode(ids), text);
}

TEST(CharacterTokenizer, GivesOneIdForEachCharacter) {
  const auto folder = source_dir() / "models" / "shakespeare-char";
  const auto tokenizer =
      make_tokenizer_from_json(read_file(folder / "tokenizer.json"),
                               read_file(folder / "tokenizer_config.json"), folder.string());
  const std::string text = read_file(source_dir() / "models/shakespeare-char/input.txt");
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
  const auto folder = source_dir() / "models" / "stories260k";
  const auto tokenizer =
      make_tokenizer_from_llama2c(read_file(folder / "tok512.bin"), 512, "tok512.bin");
  std::vector<int32_t> ids;
  std::istringstream numbers(read_file(folder / "expected-greedy-200.ids"));
  for (int32_t id; numbers >> id;) ids.push_back(id);
  ASSERT_EQ(ids.size(), 201u);
  const std::string text = read_file(folder / "expected-greedy-200.txt");
  EXPECT_EQ(tokenizer->decode(ids, true), text);
  ids.erase(ids.begin());
  // Not the ids: a model need not choose the tokens that the text is encoded to.
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->encode("", {.add_special = true}), std::vector<int32_t>{1});
}

}  // namespace
}  // namespace twofold

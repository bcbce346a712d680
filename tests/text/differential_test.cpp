// Ids and texts equal those of Hugging Face `tokenizers` (tools/make_tokenizer_vectors.py), and a
// stream gives the text of the whole.
#include <gtest/gtest.h>

#include "base/json.h"
#include "text/tokenizer_files.h"

namespace twofold {
namespace {

using namespace testing;  // NOLINT: the helpers of the test data

std::string data(const std::string& name) {
  return read_file(test_data("tokenizers/differential/" + name));
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip) {
  StreamDecoder stream(tokenizer, skip);
  std::string text;
  for (const int32_t id : ids) text += stream.push(id);
  return text + stream.flush();
}

class Differential : public ::testing::TestWithParam<std::string> {};

TEST_P(Differential, EqualsTheReferenceTokenizer) {
  const std::string file = GetParam() == "gpt2"
                               ? read_file(test_data("tokenizers/gpt2/tokenizer.json"))
                               : data(GetParam() + ".json");
  const auto tokenizer = make_tokenizer_from_json(file, "", GetParam());
  const auto exported = make_tokenizer_from_json(tokenizer_to_json(*tokenizer), "", "exported");
  const Json lines = parse_json(data("lines.json"), "lines");
  const Json rows = parse_json(data(GetParam() + ".ids.json"), "ids");
  ASSERT_GE(lines.size(), 300u);
  ASSERT_EQ(rows.size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto text = lines[i].get<std::string>();
    const auto ids = rows[i]["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer->encode(text), ids) << i << ": " << lines[i];
    EXPECT_EQ(exported->encode(text), ids) << i << ": " << lines[i];
    EXPECT_EQ(tokenizer->encode(text, {.add_special = true}),
              rows[i]["special"].get<std::vector<int32_t>>())
        << i;
    EXPECT_EQ(tokenizer->decode(ids), rows[i]["text"].get<std::string>()) << i;
    EXPECT_EQ(tokenizer->decode(ids, true), rows[i]["plain"].get<std::string>()) << i;
    EXPECT_EQ(streamed(*tokenizer, ids, false), rows[i]["text"].get<std::string>()) << i;
    EXPECT_EQ(streamed(*tokenizer, ids, true), rows[i]["plain"].get<std::string>()) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Differential,
                         ::testing::Values("gpt2", "sentencepiece_style", "metaspace",
                                           "llama3_style", "prefix_space", "words_with_suffix",
                                           "word_level"),
                         [](const auto& which) { return which.param; });

}  // namespace
}  // namespace twofold

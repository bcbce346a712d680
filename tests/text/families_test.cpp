// Tokenizers with the fields that model families publish give what Hugging Face `tokenizers` gives
// for 2,000 texts, and the pre-tokenizers that GGUF files name cut as those of tokenizer.json
// (tools/make_tokenizer_vectors.py).
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "base/rng.h"
#include "text/named_pre_tokenizers.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_files.h"
#include "text/unicode.h"

namespace twofold {
namespace {

using namespace testing;  // NOLINT: the helpers of the test data

std::string data(const std::string& name) {
  return read_file(test_data("tokenizers/families/" + name));
}

/// As tools/make_tokenizer_vectors.py has it: the upper 24 bits of FNV-1a of 32.
std::string hash_of(std::string_view text) {
  uint32_t value = 0x811c9dc5;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x01000193;
  return fmt::format("{:06x}", value >> 8);
}

std::vector<std::string> read_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

const std::vector<std::string>& texts() {
  static const auto lines = parse_json(data("lines.json"), "lines").get<std::vector<std::string>>();
  return lines;
}

std::string joined(const std::vector<int32_t>& ids) {
  return fmt::format("{}", fmt::join(ids, " "));
}

std::string streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip) {
  StreamDecoder stream(tokenizer, skip);
  std::string text;
  for (const int32_t id : ids) {
    const std::string certain = stream.push(id);
    EXPECT_TRUE(is_utf8(certain));
    text += certain;
  }
  return text + stream.flush();
}

constexpr const char* kFamilies[] = {
    "opt",      "bloom", "neox",  "qwen", "llama3", "smollm",   "olmo2",   "nemo",     "mistral",
    "mistral3", "phi3",  "gemma", "t5",   "albert", "charsmap", "unigram", "wordpiece"};

class Families : public ::testing::TestWithParam<const char*> {
 protected:
  std::string name() const { return GetParam(); }
};

TEST_P(Families, GiveTheReferenceIdsAndTextsOf2000Lines) {
  const auto tokenizer = make_tokenizer_from_json(data(name() + ".json"), "", name());
  const auto exported = make_tokenizer_from_json(tokenizer_to_json(*tokenizer), "", "exported");
  const std::vector<std::string> hashes = read_lines(data(name() + ".hashes"));
  ASSERT_EQ(texts().size(), 2000u);
  ASSERT_EQ(hashes.size(), texts().size());
  for (size_t i = 0; i < texts().size(); ++i) {
    const std::string& text = texts()[i];
    const auto ids = tokenizer->encode(text);
    const auto special = tokenizer->encode(text, {.add_special = true});
    const std::string all = tokenizer->decode(special), plain = tokenizer->decode(special, true);
    const std::string found =
        hash_of(joined(ids) + "|" + joined(special)) + " " + hash_of(all + "|" + plain);
    EXPECT_EQ(found, hashes[i]) << "text " << i << ": " << Json(text) << "\nids " << joined(ids)
                                << "\ntext " << Json(all);
    EXPECT_EQ(exported->encode(text), ids) << "text " << i;
    EXPECT_EQ(streamed(*tokenizer, special, false), all) << "text " << i;
    EXPECT_EQ(streamed(*tokenizer, special, true), plain) << "text " << i;
  }
}

TEST_P(Families, GiveTheReferenceRowsIdForId) {
  const auto tokenizer = make_tokenizer_from_json(data(name() + ".json"), "", name());
  const Json rows = parse_json(data(name() + ".rows.json"), "rows");
  EXPECT_EQ(rows.size(), 25u);
  for (const Json& row : rows) {
    const std::string& text = texts().at(row["line"].get<size_t>());
    const auto special = row["special"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer->encode(text), row["ids"].get<std::vector<int32_t>>()) << Json(text);
    EXPECT_EQ(tokenizer->encode(text, {.add_special = true}), special) << Json(text);
    EXPECT_EQ(tokenizer->decode(special), row["text"].get<std::string>());
    EXPECT_EQ(tokenizer->decode(special, true), row["plain"].get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(Published, Families, ::testing::ValuesIn(kFamilies),
                         [](const auto& which) { return std::string(which.param); });

class NamedPreTokenizers : public ::testing::TestWithParam<std::string> {};

TEST_P(NamedPreTokenizers, CutAsTheModelsOwnFileDoes) {
  const std::string name = GetParam();
  const auto named = make_pre_tokenizer(
      {find_named_pre_tokenizer(name, "test").pre_tokenizer, "pre_tokenizer", name});
  const Json own_json = parse_json(data("pre/" + name + ".json"), name);
  const auto own = make_pre_tokenizer({own_json, "pre_tokenizer", name});
  const auto cut = [](const PreTokenizer& pre_tokenizer, const std::string& text) {
    Pieces pieces{.text = text, .pieces = {}};
    if (!text.empty()) pieces.pieces.push_back({0, text.size(), true});
    pre_tokenizer.apply(pieces);
    std::string result;
    for (const Pieces::Piece& piece : pieces.pieces) {
      if (!result.empty()) result += ' ';
      result += pieces.view(piece);
    }
    return result;
  };
  const std::vector<std::string> hashes = read_lines(data("pre/" + name + ".hashes"));
  ASSERT_EQ(hashes.size(), texts().size());
  for (size_t i = 0; i < texts().size(); ++i) {
    const std::string pieces = cut(*named, texts()[i]);
    EXPECT_EQ(hash_of(pieces), hashes[i]) << i << ": " << Json(texts()[i]) << "\n" << pieces;
    EXPECT_EQ(cut(*own, texts()[i]), pieces) << i << ": " << Json(texts()[i]);
  }
}

std::vector<std::string> names_of_files() {
  std::vector<std::string> names;
  for (const auto& entry :
       std::filesystem::directory_iterator(test_data("tokenizers/families/pre"))) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}
INSTANTIATE_TEST_SUITE_P(OfGgufFiles, NamedPreTokenizers, ::testing::ValuesIn(names_of_files()),
                         [](const auto& which) {
                           std::string name = which.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace twofold

// Tokenizers with the fields that model families publish give what Hugging Face `tokenizers` gives
// for 2,000 texts, and the pre-tokenizers that GGUF files name cut as those of tokenizer.json
// (tools/make_tokenizer_vectors.py).
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "base/rng.h"
#include "text/named_pre_tokenizers.h"
#include "text/normalizer.h"
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

TEST_P(Families, KeepTheBytesOfInvalidUtf8OrReplaceThem) {
  const Json json = parse_json(data(name() + ".json"), name());
  const auto tokenizer = make_tokenizer_from_json(json.dump(), "", name());
  const bool byte_level = !json["decoder"].is_null() && json["decoder"]["type"] == "ByteLevel";
  Rng rng(20261122);
  for (int i = 0; i < 300; ++i) {
    std::string text;
    while (text.size() < 40) {
      // Whole characters, bytes, and starts of characters.
      const uint64_t kind = rng.next_u64() % 4;
      if (kind == 0) text += static_cast<char>(rng.next_u64());
      if (kind == 1) text += "\xE2\x82\xAC";
      if (kind == 2) text += std::string("\xF0\x9F\x98\x80").substr(0, 1 + rng.next_u64() % 4);
      if (kind == 3) text += static_cast<char>('a' + rng.next_u64() % 26);
    }
    const auto ids = tokenizer->encode(text);
    if (!byte_level) {
      EXPECT_EQ(ids, tokenizer->encode(to_valid_utf8(text)));
    } else if (json["normalizer"].is_null()) {
      std::string bytes;
      for (const int32_t id : ids) {
        EXPECT_TRUE(append_bytes_of_characters(bytes, tokenizer->token_text(id)));
      }
      EXPECT_EQ(bytes, text);
      EXPECT_EQ(tokenizer->decode(ids), to_valid_utf8(text));
    }
  }
}

TEST(TokenizerConfig, OverridesTheFlagsOfAddedTokensAndAddsMore) {
  Json json = parse_json(data("phi3.json"), "phi3");
  Json config = {{"added_tokens_decoder", Json::object()}};
  const auto size = make_tokenizer_from_json(json.dump(), "", "phi3")->vocab_size();
  for (Json& token : json["added_tokens"]) {
    if (token["content"] != "<|user|>") continue;
    EXPECT_EQ(token["rstrip"], true);
    Json changed = token;
    changed["rstrip"] = false;
    changed["lstrip"] = true;
    changed.erase("id");
    config["added_tokens_decoder"][std::to_string(token["id"].get<int>())] = changed;
    changed["content"] = "<|new|>";
    config["added_tokens_decoder"][std::to_string(size)] = changed;
  }
  const auto overridden = make_tokenizer_from_json(json.dump(), config.dump(), "phi3");
  for (Json& token : json["added_tokens"]) {
    if (token["content"] == "<|user|>") token["rstrip"] = false, token["lstrip"] = true;
  }
  json["added_tokens"].push_back(config["added_tokens_decoder"][std::to_string(size)]);
  json["added_tokens"].back()["id"] = size;
  const auto edited = make_tokenizer_from_json(json.dump(), "", "phi3");
  const std::string text = "a <|user|> b <|new|>\nc";
  EXPECT_EQ(overridden->encode(text), edited->encode(text));
  EXPECT_EQ(overridden->token_id("<|new|>"), size);
  config["added_tokens_decoder"]["0"] = {{"content", "<|other|>"}};
  EXPECT_THROW(make_tokenizer_from_json(json.dump(), config.dump(), "phi3"), Error);
}

/// The vocabulary of a byte-level family as a GGUF file has it.
GgufVocabulary as_gguf(const Json& json, std::string pre) {
  GgufVocabulary v{.model = "gpt2", .pre = std::move(pre), .add_bos = false, .add_eos = false};
  const auto put = [&](const std::string& text, size_t id, int64_t type) {
    if (id >= v.tokens.size()) {
      v.tokens.resize(id + 1);
      v.token_types.resize(id + 1, 1);
    }
    v.tokens[id] = text;
    v.token_types[id] = type;
  };
  for (const auto& [text, id] : json["model"]["vocab"].items()) put(text, id.get<size_t>(), 1);
  for (const Json& token : json["added_tokens"]) {
    put(token["content"], token["id"].get<size_t>(), token["special"].get<bool>() ? 3 : 4);
  }
  for (const Json& merge : json["model"]["merges"]) {
    v.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return v;
}

TEST(GgufOfAFamily, GivesTheIdsOfItsTokenizerJson) {
  const std::pair<const char*, const char*> cases[] = {
      {"opt", "gpt-2"},        {"bloom", "bloom"},   {"neox", "mpt"},   {"qwen", "qwen2"},
      {"llama3", "llama-bpe"}, {"smollm", "smollm"}, {"olmo2", "dbrx"}, {"nemo", "tekken"}};
  for (const auto& [family, pre] : cases) {
    const Json json = parse_json(data(std::string(family) + ".json"), family);
    const auto own = make_tokenizer_from_json(json.dump(), "", family);
    const auto gguf = make_tokenizer_from_gguf(as_gguf(json, pre), family);
    const auto exported = make_tokenizer_from_json(tokenizer_to_json(*gguf), "", "exported");
    // A GGUF file does not say how text is normalized.
    const auto normalizer = make_normalizer({json["normalizer"], "normalizer", family});
    size_t compared = 0;
    for (const std::string& text : texts()) {
      std::string normalized = text;
      if (normalizer) normalizer->apply(normalized);
      if (normalized != text) continue;
      ++compared;
      const auto ids = gguf->encode(text);
      EXPECT_EQ(ids, own->encode(text)) << family << ": " << Json(text);
      EXPECT_EQ(ids, exported->encode(text)) << family << ": " << Json(text);
    }
    EXPECT_GT(compared, texts().size() / 2);
  }
}

TEST(GgufVocabularies, SayWhatIsPutBeforeAndAfterTheText) {
  const std::string space(kSpaceSymbol);
  GgufVocabulary v{.model = "llama",
                   .tokens = {"<unk>", "<s>", "</s>", space, "a", space + "a", "b"},
                   .scores = {0, 0, 0, -1, -2, -3, -4},
                   .token_types = {2, 3, 3, 1, 1, 1, 1},
                   .bos_id = 1,
                   .eos_id = 2,
                   .unk_id = 0};
  const auto ids = [&](std::string_view text) {
    return make_tokenizer_from_gguf(v, "test")->encode(text, {.add_special = true});
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(ids("a b"), (Ids{1, 5, 3, 6})) << "BOS and a space, as the kind has it";
  v.add_space_prefix = false;
  EXPECT_EQ(ids("a b"), (Ids{1, 4, 3, 6}));
  v.add_bos = false;
  EXPECT_EQ(ids("a b"), (Ids{4, 3, 6}));
  v.add_eos = true;
  EXPECT_EQ(ids("a b"), (Ids{4, 3, 6, 2}));
  v = {.model = "gpt2",
       .pre = "gpt-2",
       .tokens = {"a", "b", "ab", "<s>"},
       .token_types = {1, 1, 1, 3},
       .merges = {"a b"},
       .bos_id = 3,
       .eos_id = 3};
  EXPECT_EQ(ids("ab"), (Ids{2})) << "no BOS, as the name has it";
  v.add_eos = true;
  EXPECT_EQ(ids("ab"), (Ids{2, 3}));
  v.pre = "llama-bpe";
  EXPECT_EQ(ids("ab"), (Ids{3, 2, 3})) << "BOS, as the name has it";
  v.add_bos = false;
  EXPECT_EQ(ids("ab"), (Ids{2, 3}));
}

TEST(GgufVocabularies, OfPhi3TakeTheWhiteSpaceAfterControlTokens) {
  GgufVocabulary v{.model = "gpt2",
                   .pre = "gpt-2",
                   .name = "Phi-3 mini",
                   .tokens = {"a", "\xC4\xA0", "<|user|>", "<s>"},
                   .token_types = {1, 1, 3, 3}};
  const auto ids = [&](std::string_view text) {
    return make_tokenizer_from_gguf(v, "test")->encode(text);
  };
  EXPECT_EQ(ids("<|user|> a<s> a"), (std::vector<int32_t>{2, 0, 3, 1, 0}));
  v.name = "another";
  EXPECT_EQ(ids("<|user|> a<s> a"), (std::vector<int32_t>{2, 1, 0, 3, 1, 0}));
}

TEST(GgufVocabularies, WithAPreTokenizerThatIsNotKnownAreRefusedWithTheList) {
  try {
    find_named_pre_tokenizer("superbpe", "model.gguf");
    FAIL();
  } catch (const Error& e) {
    const std::string what = e.what();
    for (const char* part : {"model.gguf", "tokenizer.ggml.pre", "'superbpe'", "llama-bpe", "qwen2",
                             "tekken", "deepseek-v3", "bloom"}) {
      EXPECT_NE(what.find(part), std::string::npos) << what;
    }
  }
}

TEST(LongLines, AreCutWithoutBlowingUp) {
  constexpr size_t kSize = size_t{1} << 18;
  // Each of these takes less than a second; quadratic time would be many minutes.
  const std::string lines[] = {std::string(kSize, 'a'), std::string(kSize, ' ') + "x",
                               std::string(kSize, '<')};
  for (const char* family : {"llama3", "nemo", "mistral", "gemma", "t5"}) {
    const auto tokenizer =
        make_tokenizer_from_json(data(std::string(family) + ".json"), "", family);
    for (const std::string& line : lines) EXPECT_NO_THROW(tokenizer->encode(line)) << family;
  }
}

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

// Damaged files: an Error that says where, or a tokenizer that works; never anything else.
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "base/json.h"
#include "base/rng.h"
#include "text/tokenizer_files.h"

namespace twofold {
namespace {

using namespace testing;  // NOLINT: the helpers of the test data

/// Opens and uses a tokenizer; true if it was refused, which must be by an Error naming the file.
template <class Open>
bool refused(Open open) {
  std::unique_ptr<Tokenizer> tokenizer;
  try {
    tokenizer = open();
  } catch (const Error& e) {
    EXPECT_TRUE(e.code() == ErrorCode::kCorruptFile || e.code() == ErrorCode::kUnsupported);
    EXPECT_NE(std::string(e.what()).find("damaged"), std::string::npos) << e.what();
    return true;
  }
  try {
    const auto ids =
        tokenizer->encode("Once <s> upon\n\ta <sep>fox, 123 h\xC3\xA9 \xE2\x82\xAC \xFF\xE2\x82 x",
                          {.add_special = true});
    for (const int32_t id : ids) EXPECT_LT(id, tokenizer->vocab_size());
    tokenizer->decode(ids, true);
    tokenizer->decode(std::vector<int32_t>{-5, 0, 1, 300, INT32_MAX});
  } catch (const Error&) {  // a pattern or replacement that goes beyond its limits
  }
  return false;
}

bool json_refused(const std::string& text, const std::string& config = "") {
  return refused([&] { return make_tokenizer_from_json(text, config, "damaged"); });
}

Json small_tokenizer() {
  return parse_json(R"({"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 5, "content": "<s>", "single_word": false, "lstrip": false,
                      "rstrip": false, "normalized": false, "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "x"},
      {"type": "Replace", "pattern": {"String": "y"}, "content": "z"},
      {"type": "Strip", "strip_left": true, "strip_right": false}, {"type": "NFC"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Isolated", "invert": false},
      {"type": "Digits", "individual_digits": true},
      {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": true},
      {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}]},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [5], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "_"}, "content": " "}, {"type": "ByteFallback"},
      {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "dropout": null, "unk_token": "a", "continuing_subword_prefix": "",
      "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
      "vocab": {"a": 0, "b": 1, "ab": 2, "abb": 3}, "merges": ["a b", ["ab", "b"]]}})",
                    "small");
}

/// The same with the other kinds of model.
Json small_unigram() {
  Json json = small_tokenizer();
  json["normalizer"] = parse_json(read_file(test_data("tokenizers/families/charsmap.json")),
                                  "charsmap.json")["normalizer"];
  json["model"] = parse_json(R"({"type": "Unigram", "unk_id": 0, "byte_fallback": true,
    "vocab": [["<unk>", 0.0], ["a", -1.5], ["b", -2], ["ab", -2.5]]})",
                             "small");
  return json;
}
Json small_word_piece() {
  Json json = small_tokenizer();
  json["normalizer"] = {{"type", "Nmt"}};
  json["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  json["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  json["model"] = parse_json(R"({"type": "WordPiece", "unk_token": "u",
    "continuing_subword_prefix": "##", "max_input_chars_per_word": 9,
    "vocab": {"u": 0, "a": 1, "##b": 2, "ab": 3}})",
                             "small");
  return json;
}

/// Calls `visit` with a JSON pointer to every value below `node`.
template <class Visit>
void for_each_value(const Json& node, const std::string& path, Visit visit) {
  const auto each = [&](const std::string& key, const Json& value) {
    visit(path + "/" + key);
    if (value.is_structured()) for_each_value(value, path + "/" + key, visit);
  };
  if (node.is_object()) {
    for (const auto& [key, value] : node.items()) each(key, value);
  } else if (node.is_array()) {
    for (size_t i = 0; i < node.size(); ++i) each(std::to_string(i), node[i]);
  }
}

TEST(CorruptTokenizerJson, EveryFieldMissingOrOfAnotherTypeIsRefusedOrHarmless) {
  int refusals = 0, cases = 0;
  const Json wrong[] = {Json(nullptr),
                        Json(true),
                        Json(-1),
                        Json(1e300),
                        Json(uint64_t(1) << 60),
                        Json(UINT64_MAX),
                        Json("no such name"),
                        Json(""),
                        Json::array(),
                        Json::object(),
                        Json::array({1, "x", nullptr})};
  for (const Json& good : {small_tokenizer(), small_unigram(), small_word_piece()}) {
    ASSERT_FALSE(json_refused(good.dump()));
    for_each_value(good, "", [&](const std::string& path) {
      const Json::json_pointer pointer(path);
      for (const Json& value : wrong) {
        if (good[pointer].type() == value.type()) continue;
        Json bad = good;
        bad[pointer] = value;
        refusals += json_refused(bad.dump());
        ++cases;
      }
      Json bad = good;
      Json& parent = bad[pointer.parent_pointer()];
      if (parent.is_object()) {
        parent.erase(pointer.back());
      } else {
        parent.erase(std::stoul(pointer.back()));
      }
      refusals += json_refused(bad.dump());
      ++cases;
    });
  }
  EXPECT_GT(cases, 1800);
  EXPECT_GT(refusals, cases * 3 / 4);
}

TEST(CorruptTokenizerJson, IsRefused) {
  const auto with = [](const char* pointer, const Json& value) {
    Json bad = small_tokenizer();
    bad[Json::json_pointer(pointer)] = value;
    return bad.dump();
  };
  const std::pair<const char*, Json> cases[] = {
      {"/version", "2.0"},
      {"/surprise", 1},
      {"/model/type", "Unigram"},  // without its fields
      {"/model/type", "WordPiece"},
      {"/model/type", "Char"},
      {"/model/dropout", 0.5},
      {"/model/unk_token", "absent"},
      {"/model/vocab/a", uint64_t(1) << 60},
      {"/model/vocab/a", 70000},
      {"/model/vocab/a", 1},
      {"/model/vocab/a", -1},
      {"/model/vocab/a", 0.5},
      {"/model/merges/0", "a absent"},
      {"/model/merges/0", "b a"},
      {"/model/merges/0", "a"},
      {"/model/merges/0", "a b b"},
      {"/model/merges/0", Json::array({"a"})},
      {"/added_tokens/0/id", uint64_t(1) << 60},
      {"/added_tokens/0/id", 2},
      {"/added_tokens/0/content", ""},
      {"/added_tokens/0/content", "a"},
      {"/added_tokens/0/content", std::string(5000, 'x')},
      {"/normalizer/type", "BertNormalizer"},
      {"/normalizer/type", "Nmt"},  // with another's fields
      {"/normalizer/normalizers/1", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAA"}}},
      {"/normalizer/normalizers/1", {{"type", "Precompiled"}, {"precompiled_charsmap", "A*AA"}}},
      {"/normalizer/normalizers/1", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}}},
      {"/normalizer/normalizers/1/pattern", {{"Regex", "(["}}},
      {"/normalizer/normalizers/1/pattern", {{"Regex", "a&&b"}, {"String", "x"}}},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "(?m)a"}}},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", "[a&&[^b]]"}}},
      {"/pre_tokenizer/pretokenizers/0/pattern", {{"Regex", std::string(10000, '(')}}},
      {"/pre_tokenizer/pretokenizers/0/behavior", "Shuffled"},
      {"/pre_tokenizer/type", "UnicodeScripts"},
      {"/pre_tokenizer/pretokenizers/2/replacement", "__"},
      {"/pre_tokenizer/pretokenizers/2/prepend_scheme", "sometimes"},
      {"/post_processor/special_tokens/<s>/ids/0", 4},
      {"/post_processor/special_tokens/<s>/ids/0", uint64_t(1) << 60},
      {"/post_processor/single", Json::array()},
      {"/decoder/type", "WordPiece"},
      {"/decoder/decoders/3/content", "  "},
      {"/decoder/decoders/3/start", -1},
  };
  for (const auto& [pointer, value] : cases) {
    EXPECT_TRUE(json_refused(with(pointer, value))) << pointer << " = " << value;
  }
  for (const char* text :
       {"", "{", "[]", "null", "1", "{\"model\": {}}", "\xFF", "{\"\xC3\": 1}"}) {
    EXPECT_TRUE(json_refused(text)) << text;
  }
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += "{\"normalizer\":";
  EXPECT_TRUE(json_refused(deep));
  EXPECT_TRUE(json_refused(std::string(10000, '[')));
  for (const char* config :
       {"{", "[]", R"({"bos_token": 1})", R"({"bos_token": {}})", R"({"add_bos_token": "yes"})",
        R"({"added_tokens_decoder": {"x": {}}})"}) {
    EXPECT_TRUE(json_refused(small_tokenizer().dump(), config)) << config;
  }
}

TEST(CorruptTokenizerJson, APatternThatNeverEndsIsGivenUp) {
  Json bad = small_tokenizer();
  bad["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"Regex", "(a|a)*[xy]"}};
  const auto tokenizer = make_tokenizer_from_json(bad.dump(), "", "damaged");
  EXPECT_THROW(tokenizer->encode(std::string(100, 'a')), Error);
}

TEST(CorruptTokenizerJson, ReplacementsThatMultiplyTheTextAreStopped) {
  Json bad = small_tokenizer();
  const Json doubling = {{"type", "Replace"}, {"pattern", {{"String", "y"}}}, {"content", "yy"}};
  bad["normalizer"]["normalizers"] = std::vector<Json>(60, doubling);
  const auto tokenizer = make_tokenizer_from_json(bad.dump(), "", "damaged");
  EXPECT_THROW(tokenizer->encode("y"), Error);
}

/// Random changes of bytes, cuts and copies.
std::string mutated(std::string bytes, Rng& rng) {
  const int changes = 1 + static_cast<int>(rng.next_u64() % 4);
  for (int i = 0; i < changes && !bytes.empty(); ++i) {
    const size_t at = rng.next_u64() % bytes.size();
    switch (rng.next_u64() % 5) {
      case 0:
        bytes[at] = static_cast<char>(rng.next_u64());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << (rng.next_u64() % 8)));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(at, rng.next_u64() % 9);
        break;
      default:
        bytes.insert(at, bytes.substr(rng.next_u64() % bytes.size(), rng.next_u64() % 9));
    }
  }
  return bytes;
}

TEST(MutatedFiles, OfEveryKindGiveAnErrorOrATokenizer) {
  const std::string jsons[] = {small_tokenizer().dump(), small_unigram().dump(),
                               small_word_piece().dump()};
  const std::string spiece = read_file(source_dir() / "models/babyllama-tok105/tok105.model");
  const std::string llama2c = read_file(source_dir() / "models/stories260k/tok512.bin");
  const std::string merges = "#version: 0.2\na b\nab b\n";
  Rng rng(2026);
  int refusals = 0;
  for (int i = 0; i < 1500; ++i) {
    refusals += json_refused(mutated(jsons[i % 3], rng));
    refusals +=
        refused([&] { return make_tokenizer_from_sentencepiece(mutated(spiece, rng), "damaged"); });
    refusals += refused([&] {
      return make_tokenizer_from_vocab_merges(mutated(R"({"a":0,"b":1,"ab":2,"abb":3})", rng),
                                              mutated(merges, rng), "", "damaged");
    });
    if (i % 4 == 0) {
      refusals += refused(
          [&] { return make_tokenizer_from_llama2c(mutated(llama2c, rng), 512, "damaged"); });
    }
  }
  EXPECT_GT(refusals, 2000);
}

TEST(CorruptLlama2c, IsRefused) {
  const std::string good = read_file(source_dir() / "models/stories260k/tok512.bin");
  const auto open = [](const std::string& bytes, int64_t vocab_size) {
    return refused([&] { return make_tokenizer_from_llama2c(bytes, vocab_size, "damaged"); });
  };
  EXPECT_FALSE(open(good, 512));
  for (const int64_t size : {int64_t{-1}, int64_t{0}, int64_t{258}, int64_t{511}, int64_t{513},
                             int64_t{1} << 60, INT64_MAX, INT64_MIN}) {
    EXPECT_TRUE(open(good, size)) << size;
  }
  for (size_t cut = 0; cut < good.size(); cut += 61) EXPECT_TRUE(open(good.substr(0, cut), 512));
  for (const uint32_t length : {0x7FFFFFFFu, 0xFFFFFFFFu, 8u}) {
    std::string bad = good;
    std::memcpy(bad.data() + 8, &length, 4);  // of token 0
    EXPECT_TRUE(open(bad, 512)) << length;
  }
  std::string nan = good;
  const uint32_t bits = 0x7FC00000;
  std::memcpy(nan.data() + 4, &bits, 4);
  EXPECT_TRUE(open(nan, 512));
}

TEST(CorruptSentencePiece, IsRefused) {
  const auto open = [](const std::string& bytes) {
    return refused([&] { return make_tokenizer_from_sentencepiece(bytes, "damaged"); });
  };
  const std::string good = read_file(source_dir() / "models/babyllama-tok105/tok105.model");
  EXPECT_FALSE(open(good));
  EXPECT_TRUE(open(""));
  const std::string unk("\x0A\x0E\x0A\x05<unk>\x15\0\0\0\0\x18\x02", 16);
  const std::string bpe("\x12\x02\x18\x02", 4);
  EXPECT_FALSE(open(unk + bpe));
  EXPECT_TRUE(open(unk)) << "unigram";
  EXPECT_TRUE(open(unk + std::string("\x12\x02\x18\x04", 4))) << "char";
  EXPECT_TRUE(open(unk + unk + bpe)) << "a piece twice";
  EXPECT_TRUE(open(bpe)) << "no pieces";
  EXPECT_TRUE(open(unk + bpe + std::string("\x0A\x03\x0A\x01\xFF", 5))) << "not UTF-8";
  EXPECT_TRUE(open(unk + bpe + std::string("\x0A\x05\x0A\x01x\x18\x05", 7))) << "unused";
  EXPECT_TRUE(open(unk + bpe + std::string("\x0A\x05\x0A\x01x\x18\x09", 7))) << "type 9";
  EXPECT_TRUE(open(unk + bpe + std::string("\x1A\x03\x12\x01x", 5))) << "character map";
  EXPECT_TRUE(open(unk + bpe + std::string("\x1A\x02\x28\x00", 4))) << "spaces not escaped";
  EXPECT_TRUE(open(unk + bpe + std::string("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 10)));
  EXPECT_TRUE(open(unk + bpe + std::string(11, '\xFF')));
  EXPECT_TRUE(open(unk + bpe + "\x0B"));
  EXPECT_TRUE(open(std::string("\x08\x01", 2))) << "pieces of the wrong wire type";
}

TEST(CorruptGgufVocabulary, IsRefused) {
  GgufVocabulary good{.model = "gpt2",
                      .pre = "gpt-2",
                      .tokens = {"a", "b", "ab"},
                      .scores = {},
                      .token_types = {1, 1, 3},
                      .merges = {"a b"},
                      .add_bos = false,
                      .add_eos = false};
  const auto open = [](const GgufVocabulary& v) {
    return refused([&] { return make_tokenizer_from_gguf(v, "damaged"); });
  };
  EXPECT_FALSE(open(good));
  const auto bad = [&](auto change) {
    GgufVocabulary v = good;
    change(v);
    return open(v);
  };
  using V = GgufVocabulary&;
  EXPECT_TRUE(bad([](V v) { v.model = "bert"; }));
  EXPECT_TRUE(bad([](V v) { v.pre = "no such name"; }));
  EXPECT_TRUE(bad([](V v) { v.tokens = {}; }));
  EXPECT_TRUE(bad([](V v) { v.tokens[1] = "a"; }));
  EXPECT_TRUE(bad([](V v) { v.tokens[0] = "\xFF"; }));
  EXPECT_TRUE(bad([](V v) { v.token_types.pop_back(); }));
  EXPECT_TRUE(bad([](V v) { v.token_types[0] = int64_t{1} << 60; }));
  EXPECT_TRUE(bad([](V v) { v.scores = {1.0}; }));
  EXPECT_TRUE(bad([](V v) { v.merges[0] = "a"; }));
  EXPECT_TRUE(bad([](V v) { v.merges[0] = ""; }));
  EXPECT_TRUE(bad([](V v) { v.merges[0] = "a absent"; }));
  EXPECT_TRUE(bad([](V v) { v.merges[0] = "a \xFF"; }));
  EXPECT_TRUE(bad([](V v) { v.bos_id = 3; }));
  EXPECT_TRUE(bad([](V v) { v.eos_id = INT32_MIN; }));
  EXPECT_TRUE(bad([](V v) { v.model = "llama"; })) << "no scores";
  EXPECT_TRUE(bad([](V v) {
    v.model = "llama";
    v.scores = {0.0, 1.0, std::numeric_limits<double>::quiet_NaN()};
  }));
  EXPECT_FALSE(bad([](V v) {
    v.model = "llama";
    v.scores = {0.0, 1.0, 2.0};
  }));
}

TEST(InvalidUtf8, IsBytesForByteLevelAndReplacedForOthers) {
  const std::string text = "ok \xFF\xFE\xC3 caf\xC3\xA9 \xE2\x82";
  const auto ids = gpt2().encode(text);
  EXPECT_EQ(gpt2().decode(ids), "ok \xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD caf\xC3\xA9 \xEF\xBF\xBD");
  // Each byte of the vocabulary's alphabet has a token, so none is lost.
  EXPECT_EQ(gpt2().encode("\xFF").size(), 1u);
  EXPECT_EQ(gpt2().token_text(gpt2().encode("\xFF")[0]), "\xC3\xBF");
  const auto other = stories();
  EXPECT_EQ(other->encode("a\xFF"), other->encode("a\xEF\xBF\xBD"));
}

}  // namespace
}  // namespace twofold

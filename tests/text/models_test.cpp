// Models and their parts beside slow and obvious ones, on random small cases.
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "base/json.h"
#include "base/rng.h"
#include "text/byte_trie.h"
#include "text/charsmap.h"
#include "text/regex.h"
#include "text/tokenizer_files.h"
#include "text/unicode.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace twofold {
namespace {

using namespace testing;  // NOLINT: the helpers of the test data

constexpr uint64_t kSeed = 20261122;

std::string random_text(Rng& rng, size_t longest, std::string_view letters) {
  std::string text;
  for (size_t size = 1 + rng.next_u64() % longest; text.size() < size;) {
    text += letters[rng.next_u64() % letters.size()];
  }
  return text;
}

TEST(ByteTrie, FindsTheKeysThatAMapFinds) {
  Rng rng(kSeed);
  const std::string letters("ab\0\x7F\x80\xFF", 6);
  for (int round = 0; round < 200; ++round) {
    std::map<std::string, int32_t> map;
    std::vector<std::string> texts;
    for (int i = 0; i < 40; ++i) texts.push_back(random_text(rng, 5, letters));
    std::vector<ByteTrie::Key> keys;
    for (const std::string& text : texts) {
      const auto value = static_cast<int32_t>(keys.size());
      keys.push_back({text, value});
      map[text] = value;  // the last counts
    }
    const ByteTrie trie(keys);
    for (int i = 0; i < 200; ++i) {
      const std::string text = random_text(rng, 7, letters);
      uint32_t node = ByteTrie::kRoot;
      for (size_t end = 1; end <= text.size(); ++end) {
        node = trie.child(node, text[end - 1]);
        const auto known = map.find(text.substr(0, end));
        const int32_t expected = known == map.end() ? -1 : known->second;
        ASSERT_EQ(node == ByteTrie::kNowhere ? -1 : trie.value(node), expected) << Json(end);
        if (node == ByteTrie::kNowhere) break;
      }
    }
  }
}

/// The highest sum of scores of any cut of `text` into tokens.
double best_of_all_cuts(const std::map<std::string, double>& scores, const std::string& text) {
  if (text.empty()) return 0;
  double best = -1e9;
  for (size_t size = 1; size <= text.size(); ++size) {
    const auto known = scores.find(text.substr(0, size));
    if (known == scores.end()) continue;
    best = std::max(best, known->second + best_of_all_cuts(scores, text.substr(size)));
  }
  return best;
}

TEST(Unigram, TakesTheCutWithTheHighestSumOfAll) {
  Rng rng(kSeed);
  for (int round = 0; round < 300; ++round) {
    std::vector<UnigramToken> tokens = {{"a", -3}, {"b", -2}, {"c", -4}};
    std::map<std::string, double> scores = {{"a", -3}, {"b", -2}, {"c", -4}};
    for (int i = 0; i < 12; ++i) {
      const std::string text = random_text(rng, 5, "abc");
      // Of eighths, so that sums are exact in any order.
      const double score = -static_cast<double>(rng.next_u64() % 64) / 8;
      if (scores.emplace(text, score).second) tokens.push_back({text, score});
    }
    const Unigram model(tokens, {}, "test");
    for (int i = 0; i < 20; ++i) {
      const std::string text = random_text(rng, 10, "abc");
      std::vector<int32_t> ids;
      model.encode(text, ids);
      double sum = 0;
      std::string joined;
      for (const int32_t id : ids) {
        sum += tokens[static_cast<size_t>(id)].score;
        joined += tokens[static_cast<size_t>(id)].text;
      }
      EXPECT_EQ(joined, text);
      EXPECT_EQ(sum, best_of_all_cuts(scores, text)) << text;
    }
  }
}

TEST(Unigram, JoinsUnknownCharactersAndFallsBackToBytesOnlyIfAllExist) {
  std::vector<UnigramToken> tokens = {{"<unk>", 0}, {"a", -1}, {"<0x78>", 0}, {"<0x79>", 0}};
  const auto ids_of = [&](bool byte_fallback, std::string_view text) {
    const Unigram model(tokens, {.unk_id = 0, .byte_fallback = byte_fallback}, "test");
    std::vector<int32_t> ids;
    model.encode(text, ids);
    return ids;
  };
  EXPECT_EQ(ids_of(false, "axya"), (std::vector<int32_t>{1, 0, 1}));
  EXPECT_EQ(ids_of(true, "axya"), (std::vector<int32_t>{1, 2, 3, 1}));
  EXPECT_EQ(ids_of(true, "axzya"), (std::vector<int32_t>{1, 0, 1})) << "z is no byte token";
  const Unigram without({{"a", -1}}, {}, "test");
  std::vector<int32_t> ids;
  EXPECT_THROW(without.encode("ab", ids), Error);
}

TEST(WordPiece, TakesTheLongestTokenAtEachPlace) {
  Rng rng(kSeed);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> texts = {"[UNK]"};
    for (int i = 0; i < 14; ++i) {
      const std::string text = (i % 2 == 0 ? "" : "##") + random_text(rng, 4, "ab\xC3");
      if (is_utf8(text) && std::find(texts.begin(), texts.end(), text) == texts.end()) {
        texts.push_back(text);
      }
    }
    Vocabulary vocabulary;
    for (size_t i = 0; i < texts.size(); ++i) vocabulary.add(texts[i], static_cast<int32_t>(i));
    const WordPiece model(std::move(vocabulary), {.max_input_chars_per_word = 8}, "test");
    for (int i = 0; i < 30; ++i) {
      const std::string word = random_text(rng, 9, "ab");
      std::vector<int32_t> expected;
      for (size_t start = 0; start < word.size();) {
        size_t size = word.size() - start;
        auto found = texts.end();
        for (; size > 0 && found == texts.end(); --size) {
          const std::string part = (start > 0 ? "##" : "") + word.substr(start, size);
          found = std::find(texts.begin(), texts.end(), part);
        }
        if (found == texts.end() || word.size() > 8) {
          expected = {0};
          break;
        }
        expected.push_back(static_cast<int32_t>(found - texts.begin()));
        start += size + 1;
      }
      std::vector<int32_t> ids;
      model.encode(word, ids);
      EXPECT_EQ(ids, expected) << word;
    }
  }
}

/// The rules that tools/tokenizer_families.py lists.
std::string small_rules() {
  const Json json =
      parse_json(read_file(test_data("tokenizers/families/charsmap.json")), "charsmap.json");
  const auto text = json["normalizer"]["precompiled_charsmap"].get<std::string>();
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<uint32_t>(digits.find(c));
    if ((count += 6) >= 8) bytes.push_back(static_cast<char>(bits >> (count -= 8)));
  }
  return bytes;
}

TEST(Charsmap, ReplacesByTheShortestRuleWithinAUserPerceivedCharacter) {
  const Charsmap rules(small_rules(), "test");
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"a", "bc"},
      {"xay", "xbcy"},
      {"ab", "bcb"},  // two characters, so the rule for both is never asked
      {"A\xCC\x8A", "\xC3\x85"},
      {"e\xCC\x81", "\xC3\xA9"},
      {"\xE2\x84\xA6", "\xCE\xA9"},
      {"x\xC2\xADy", "xy"},
      {"\r\n", " "},  // one character, and the rule for its start replaces all of it
      {"\xF0\x9F\x98\x80", ":)"},
      {"", ""},
      {"nothing to do", "nothing to do"}};
  for (const auto& [text, expected] : cases) EXPECT_EQ(rules.apply(text), expected) << Json(text);
}

TEST(Charsmap, DamagedInAnyWayIsRefusedOrHarmless) {
  const std::string good = small_rules();
  std::string every;
  for (char32_t c = 0; c < 0x2000; ++c) append_utf8(every, c);
  EXPECT_NO_THROW(Charsmap(good, "damaged").apply(every));
  int refused = 0;
  const auto use = [&](const std::string& bytes) {
    try {
      const Charsmap rules(bytes, "damaged");
      EXPECT_TRUE(is_utf8(rules.apply(every)));
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == ErrorCode::kCorruptFile || e.code() == ErrorCode::kUnsupported);
      ++refused;
    }
  };
  for (size_t cut = 0; cut < good.size(); cut += 7) use(good.substr(0, cut));
  for (const uint32_t size : {0U, 1U, 3U, 5U, 0x7FFFFFFFU, 0xFFFFFFFCU, 0xFFFFFFFFU}) {
    std::string bad = good;
    std::memcpy(bad.data(), &size, 4);
    use(bad);
  }
  EXPECT_GT(refused, 40);
  Rng rng(kSeed);
  for (int i = 0; i < 1500; ++i) {
    std::string bad = good;
    for (uint64_t n = rng.next_u64() % 4; n < 4; ++n) {
      bad[rng.next_u64() % bad.size()] = static_cast<char>(rng.next_u64());
    }
    use(bad);
  }
  EXPECT_GT(refused, 500);
}

TEST(Regex, AClassWithinAClassIsTheUnion) {
  const auto matches = [](std::string_view pattern, std::string_view text) {
    std::vector<TextSpan> spans;
    Regex(pattern, "test").find_all(text, spans);
    std::string found;
    for (const TextSpan& span : spans) found += text.substr(span.begin, span.end - span.begin);
    return found;
  };
  EXPECT_EQ(matches(R"([^(\s|[.,!?])]+)", "a (b|c), d.e!"), "abcde");
  EXPECT_EQ(matches("[a[bc]d]", "xaxbxcxdx"), "abcd");
  for (const char* pattern : {"[a[^b]]", "[a[-b]]", "[a[b-]c]", "[a-[b]]", "[[a]-b]", "[a&&b]",
                              "a{2,3}+", R"(\Ka)", "(?<name>a)"}) {
    EXPECT_THROW(Regex(pattern, "test"), Error) << pattern;
  }
}

}  // namespace
}  // namespace twofold

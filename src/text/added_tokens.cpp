#include "text/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>

#include "text/unicode.h"

namespace twofold {
namespace {

/// Unicode's word characters (UTS 18): alphabetic, marks, digits, connectors, joiners.
bool is_word_character(char32_t c) {
  switch (utf8proc_category(static_cast<int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
             (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
             (c >= 0x1F170 && c <= 0x1F189);
  }
}

bool word_before(std::string_view text, size_t at) {
  if (at == 0) return false;
  size_t start = at - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return is_word_character(code_point(text, start));
}

bool word_after(std::string_view text, size_t at) {
  return at < text.size() && is_word_character(code_point(text, at));
}

struct Match {
  int32_t token = -1;  // index; -1: none
  size_t end = 0;
};
Match longest_match(const ByteTrie& trie, std::string_view text, size_t at) {
  Match match;
  uint32_t node = ByteTrie::kRoot;
  while (at < text.size()) {
    node = trie.child(node, text[at]);
    if (node == ByteTrie::kNowhere) break;
    ++at;
    if (trie.value(node) >= 0) match = {trie.value(node), at};
  }
  return match;
}

/// Longer added tokens, which nobody has, would make the time for a text quadratic.
constexpr size_t kLongestAddedToken = 4096;  // bytes

}  // namespace

AddedToken read_added_token(const JsonNode& node, int32_t id) {
  AddedToken token;
  token.id = id;
  token.content = node.get_string("content");
  if (token.content.empty()) node.child("content").corrupt("expected text, found none");
  if (token.content.size() > kLongestAddedToken) {
    node.child("content").unsupported(
        fmt::format("a token of {} bytes, at most {}", token.content.size(), kLongestAddedToken));
  }
  token.special = node.get_bool("special", false);
  token.normalized = node.get_bool("normalized", !token.special);
  token.lstrip = node.get_bool("lstrip", false);
  token.rstrip = node.get_bool("rstrip", false);
  token.single_word = node.get_bool("single_word", false);
  return token;
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer* normalizer)
    : tokens_(std::move(tokens)) {
  for (const AddedToken& token : tokens_) {
    forms_.push_back(token.content);
    if (token.normalized && normalizer != nullptr) normalizer->apply(forms_.back());
  }
  std::vector<ByteTrie::Key> raw, normalized;
  // From the last on: the first of tokens with equal texts is found.
  for (size_t i = tokens_.size(); i-- > 0;) {
    by_id_[tokens_[i].id] = i;
    by_content_[tokens_[i].content] = i;
    if (forms_[i].empty()) continue;
    (tokens_[i].normalized ? normalized : raw).push_back({forms_[i], static_cast<int32_t>(i)});
  }
  raw_ = ByteTrie(std::move(raw));
  normalized_ = ByteTrie(std::move(normalized));
}

void AddedTokens::split(std::string_view text, Stage stage, bool parse_special,
                        std::vector<Section>& sections) const {
  const ByteTrie& trie = stage == Stage::kRawText ? raw_ : normalized_;
  sections.clear();
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const Match match = longest_match(trie, text, at);
    if (match.token < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(match.token)];
    size_t begin = at;
    size_t end = match.end;
    at = end;
    if (token.special && !parse_special) continue;
    if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
    if (token.lstrip) {
      begin = std::max(done, begin - trailing_white_space(text.substr(0, begin)));
    }
    if (token.rstrip) end += leading_white_space(text.substr(end));
    if (done < begin) sections.push_back({done, begin, -1});
    sections.push_back({begin, end, token.id});
    done = end;
    at = std::max(at, end);
  }
  if (done < text.size()) sections.push_back({done, text.size(), -1});
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

}  // namespace twofold

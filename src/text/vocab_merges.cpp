// GPT-2's pair of files: vocab.json and merges.txt. Brought into the form of tokenizer.json.
#include <algorithm>

#include "text/tokenizer_json.h"
#include "text/unicode.h"

namespace twofold {
namespace {

Json read_merge_lines(std::string_view text, std::string_view where) {
  if (!is_utf8(text)) fail(ErrorCode::kCorruptFile, where, "merges: not UTF-8");
  Json merges = Json::array();
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!line.empty() && line.substr(0, 8) != "#version") merges.push_back(line);
  }
  return merges;
}

Json added_token(const AddedToken& token) {
  return {{"id", token.id},
          {"content", token.content},
          {"special", token.special},
          {"normalized", token.normalized},
          {"lstrip", token.lstrip},
          {"rstrip", token.rstrip},
          {"single_word", token.single_word}};
}

/// The tokens that the configuration names, as far as the vocabulary or the configuration has ids.
Json added_tokens(const Json& vocabulary, const TokenizerConfig& config) {
  Json list = Json::array();
  std::vector<std::string> seen;
  for (const AddedToken& token : config.added_tokens) {
    list.push_back(added_token(token));
    seen.push_back(token.content);
  }
  std::vector<std::string> named = config.additional_special_tokens;
  for (const auto& token :
       {config.bos_token, config.eos_token, config.unk_token, config.pad_token}) {
    if (token) named.push_back(*token);
  }
  for (const std::string& token : named) {
    const auto found = vocabulary.find(token);
    const bool known = std::find(seen.begin(), seen.end(), token) != seen.end();
    if (token.empty() || known || found == vocabulary.end()) continue;
    Json entry = added_token({.id = 0, .content = token, .special = true});
    entry["id"] = *found;  // as it stands; checked with the rest
    list.push_back(std::move(entry));
    seen.push_back(token);
  }
  return list;
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer_from_vocab_merges(std::string_view vocab_json,
                                                            std::string_view merges,
                                                            std::string_view tokenizer_config,
                                                            std::string_view where) {
  TokenizerConfig config = read_tokenizer_config(tokenizer_config, where);
  Json vocabulary = parse_json(vocab_json, where);
  if (!vocabulary.is_object()) {
    fail(ErrorCode::kCorruptFile, where, "expected an object of tokens and ids, found {}",
         vocabulary.type_name());
  }
  // GPT-2's own tokens, where the configuration is silent.
  constexpr const char* kEndOfText = "<|endoftext|>";
  if (!config.bos_token && vocabulary.contains(kEndOfText)) config.bos_token = kEndOfText;
  if (!config.eos_token && vocabulary.contains(kEndOfText)) config.eos_token = kEndOfText;
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", config.add_prefix_space.value_or(false)},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  Json json;
  json["added_tokens"] = added_tokens(vocabulary, config);
  json["pre_tokenizer"] = byte_level;
  json["decoder"] = byte_level;
  json["model"] = {{"type", "BPE"}};
  json["model"]["merges"] = read_merge_lines(merges, where);
  json["model"]["vocab"] = std::move(vocabulary);
  return build_from_json(json, config, where);
}

}  // namespace twofold

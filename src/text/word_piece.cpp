#include "text/word_piece.h"

#include "base/error.h"
#include "text/unicode.h"

namespace twofold {

WordPiece::WordPiece(Vocabulary vocabulary, WordPieceOptions options, std::string_view where)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  unk_id_ = vocabulary_.find(options_.unk_token);
  if (unk_id_ < 0) {
    fail(ErrorCode::kCorruptFile, where, "model.unk_token: '{}' is not in the vocabulary",
         options_.unk_token);
  }
  std::vector<ByteTrie::Key> keys;
  keys.reserve(static_cast<size_t>(vocabulary_.count()));
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view text = vocabulary_.text(id);
    if (text.size() > kLongestToken) {
      fail(ErrorCode::kUnsupported, where, "model.vocab: token {} of {} bytes, at most {}", id,
           text.size(), kLongestToken);
    }
    if (!text.empty()) keys.push_back({text, id});
  }
  trie_ = ByteTrie(std::move(keys));
  for (const char byte : options_.continuing_subword_prefix) {
    continuation_ = trie_.child(continuation_, byte);
    if (continuation_ == ByteTrie::kNowhere) {
      continues_ = false;
      break;
    }
  }
}

void WordPiece::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  int64_t characters = 0;
  for (size_t at = 0; at < piece.size(); at += character_bytes(piece, at)) ++characters;
  if (characters > options_.max_input_chars_per_word) return ids.push_back(unk_id_);
  const size_t before = ids.size();
  for (size_t start = 0; start < piece.size();) {
    uint32_t node = start == 0 ? ByteTrie::kRoot : continuation_;
    int32_t longest = -1;
    size_t end = start;
    for (size_t at = start; at < piece.size() && (start == 0 || continues_);) {
      node = trie_.child(node, piece[at]);
      if (node == ByteTrie::kNowhere) break;
      ++at;
      if (trie_.value(node) < 0) continue;
      longest = trie_.value(node);
      end = at;
    }
    if (longest < 0) {
      ids.resize(before);
      return ids.push_back(unk_id_);
    }
    ids.push_back(longest);
    start = end;
  }
}

OrderedJson WordPiece::to_json(std::string_view where) const {
  OrderedJson json;
  json["type"] = "WordPiece";
  json["unk_token"] = options_.unk_token;
  json["continuing_subword_prefix"] = options_.continuing_subword_prefix;
  json["max_input_chars_per_word"] = options_.max_input_chars_per_word;
  json["vocab"] = vocabulary_to_json(vocabulary_, where);
  return json;
}

}  // namespace twofold

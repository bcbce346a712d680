// WordPiece model: the longest token that a word starts with, then the longest continuation, and so
// on; a word that cannot be cut so is unknown (Wu et al., arXiv:1609.08144, as BERT has it).
// Thread-safe after construction.
#pragma once

#include <string>

#include "text/byte_trie.h"
#include "text/token_model.h"

namespace twofold {

struct WordPieceOptions {
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";  // of tokens that do not start a word
  int64_t max_input_chars_per_word = 100;        // longer words are unknown
};

class WordPiece : public TokenModel {
 public:
  /// @throws Error(kCorruptFile | kUnsupported) naming `where` if unk_token is no token, or for
  /// tokens above kLongestToken.
  WordPiece(Vocabulary vocabulary, WordPieceOptions options, std::string_view where);

  void encode(std::string_view piece, std::vector<int32_t>& ids) const override;
  size_t part_end(std::string_view piece, size_t) const override { return piece.size(); }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  OrderedJson to_json(std::string_view where) const override;

  /// Longer ones, which nobody has, would make the time for a word quadratic.
  static constexpr size_t kLongestToken = 4096;  // bytes

 private:
  Vocabulary vocabulary_;
  WordPieceOptions options_;
  ByteTrie trie_;
  uint32_t continuation_ = ByteTrie::kRoot;  // node that the prefix leads to
  bool continues_ = true;                    // there is such a node
  int32_t unk_id_ = -1;
};

}  // namespace twofold

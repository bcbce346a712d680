// Unigram model: the cut of a piece into tokens whose scores have the highest sum (Kudo,
// arXiv:1804.10959), by the Viterbi algorithm; details as in Hugging Face `tokenizers`. Thread-safe
// after construction.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "text/byte_trie.h"
#include "text/token_model.h"

namespace twofold {

struct UnigramToken {
  std::string text;
  double score = 0;  // logarithm of a probability
};

struct UnigramOptions {
  std::optional<int32_t> unk_id = {};  // none: unknown characters are an error
  bool byte_fallback = false;  // unknown text becomes tokens <0x00> to <0xFF> where all exist
};

class Unigram : public TokenModel {
 public:
  /// Token i is `tokens[i]`; of equal texts the last counts. @throws Error(kCorruptFile |
  /// kUnsupported) naming `where` for an unk_id that is no token and for tokens above
  /// kLongestToken.
  Unigram(std::vector<UnigramToken> tokens, UnigramOptions options, std::string_view where);

  /// @throws Error(kInvalidArgument) if a character is unknown and there is no unknown token.
  void encode(std::string_view piece, std::vector<int32_t>& ids) const override;
  size_t part_end(std::string_view piece, size_t) const override { return piece.size(); }
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  OrderedJson to_json(std::string_view where) const override;

  /// Longer ones, which nobody has, would make the time for a text quadratic.
  static constexpr size_t kLongestToken = 4096;  // bytes

 private:
  struct Step {
    double score = 0;    // of the best cut up to here
    int32_t start = -1;  // where its last token begins; -1: nothing ends here
    int32_t id = -1;
  };
  void find_best(std::string_view piece, std::vector<Step>& steps) const;
  void append_unknown(std::string_view text, std::vector<int32_t>& ids) const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;  // of each id
  UnigramOptions options_;
  ByteTrie trie_;
  double unknown_score_ = 0;
  std::array<int32_t, 256> byte_ids_;  // of <0x00> to <0xFF>; -1: no such token
};

}  // namespace twofold

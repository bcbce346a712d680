// AddedTokens: tokens that are found in the text before the model sees it, with Hugging Face's
// flags. Thread-safe after construction.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_trie.h"
#include "text/normalizer.h"

namespace twofold {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;      // left out of decoded text on request; only found if asked for
  bool normalized = false;   // looked for in normalized text, after normalizing its own
  bool lstrip = false;       // takes white space before it
  bool rstrip = false;       // and after it
  bool single_word = false;  // only between characters that belong to no word
};

/// Reads one token object (`id` excepted) of tokenizer.json or tokenizer_config.json.
AddedToken read_added_token(const JsonNode& node, int32_t id);

class AddedTokens {
 public:
  AddedTokens() = default;
  /// `normalizer` may be null.
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer* normalizer);

  /// A part of a text: an added token, or text between them (id -1).
  struct Section {
    size_t begin, end;
    int32_t id;
  };
  enum class Stage { kRawText, kNormalizedText };
  /// Cuts valid UTF-8 at the tokens of one stage: the leftmost, of these the longest. Special
  /// tokens stay text unless `parse_special`.
  void split(std::string_view text, Stage stage, bool parse_special,
             std::vector<Section>& sections) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  /// Null if there is none.
  const AddedToken* find(int32_t id) const;
  const AddedToken* find(std::string_view content) const;
  /// What decoders get for the token with this id, which must exist: as it is looked for in the
  /// text, because they undo the normalizer.
  std::string_view form(int32_t id) const { return forms_[by_id_.at(id)]; }

 private:
  std::vector<AddedToken> tokens_;
  std::vector<std::string> forms_;  // of each token, as it is looked for in the text
  std::map<int32_t, size_t> by_id_;
  std::map<std::string, size_t, std::less<>> by_content_;
  ByteTrie raw_, normalized_;  // of indices of tokens_
};

}  // namespace twofold

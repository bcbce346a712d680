// Charsmap: the rules of a SentencePiece normalizer (`precompiled_charsmap`): a double-array trie
// of texts (Darts-clone) and their replacements. Thread-safe once built.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace twofold {

class Charsmap {
 public:
  /// `bytes`: size of the trie in bytes (uint32, little-endian), the trie, the replacements, each
  /// ended by a zero byte. All places the trie names are checked.
  /// @throws Error(kCorruptFile) naming `where`.
  Charsmap(std::string_view bytes, std::string_view where);

  /// What replaces `text`: the rule of its shortest start that has one, or nothing.
  std::optional<std::string_view> find(std::string_view text) const;

  /// Replaces user-perceived characters of fewer than six bytes by the rule that `find` gives, all
  /// others code point by code point, as Hugging Face `tokenizers` does. `text` is valid UTF-8.
  std::string apply(std::string_view text) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace twofold

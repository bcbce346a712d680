// Pre-tokenizers of tokenizer.json: cut normalized text into pieces that the model then encodes one
// by one, and may rewrite them. Thread-safe after construction.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/json_node.h"

namespace twofold {

/// Pieces of one text. None is empty; together they are in order, but parts may be missing.
struct Pieces {
  struct Piece {
    size_t begin = 0, end = 0;  // bytes of text
    bool first = false;         // starts where the whole input starts
  };
  std::string text;
  std::vector<Piece> pieces;

  std::string_view view(const Piece& piece) const {
    return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
  }
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void apply(Pieces& pieces) const = 0;
  /// True if it turns bytes into the characters of the byte alphabet.
  virtual bool is_byte_level() const { return false; }
};

/// @throws Error(kUnsupported | kCorruptFile) naming the field. A null node gives null.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonNode& node);

/// GPT-2's pattern, as `ByteLevel` with use_regex applies it.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace twofold

// Decoders: token texts to text, as a chain of stages that pass on what has become certain. Whole
// sequences and streams go through the same stages, so both give the same text.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_node.h"

namespace twofold {

/// One stage of one decoding. Tokens come in parts of whole characters.
class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  /// A part of the current token; `last` ends it (then the part may be empty).
  virtual void part(std::string_view text, bool last) = 0;
  /// The sequence ends: passes on what is left.
  virtual void finish() { next_->finish(); }
  void set_next(DecodeStage* next) { next_ = next; }

 protected:
  DecodeStage* next_ = nullptr;
};
using DecodeStages = std::vector<std::unique_ptr<DecodeStage>>;

/// Thread-safe after construction.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Appends fresh stages, in order.
  virtual void append_stages(DecodeStages& stages) const = 0;
};

/// @throws Error(kUnsupported | kCorruptFile) naming the field. A null node gives the decoder that
/// joins tokens by spaces.
std::unique_ptr<Decoder> make_decoder(const JsonNode& node);

/// How SentencePiece decodes.
struct SentencePieceDecoding {
  std::string space = "\xE2\x96\x81";  // the symbol that stands for a space
  enum class Strip {
    kNone,
    kFirst,  // one space symbol at the start of the sequence
    kEvery,  // one of every token until there is text
  } strip = Strip::kFirst;
  bool byte_tokens = false;                                       // <0x00> to <0xFF> are bytes
  std::map<std::string, std::string, std::less<>> surfaces = {};  // tokens that read otherwise
  std::string restart = {};  // after this token the text starts anew; empty: none
};
std::unique_ptr<Decoder> make_sentencepiece_decoder(SentencePieceDecoding options);

}  // namespace twofold

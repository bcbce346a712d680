// Normalizers of tokenizer.json: what happens to text before it is cut into pieces. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "text/json_node.h"

namespace twofold {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// `text` is valid UTF-8 before and after. False if it no longer starts with what it started
  /// with, because something was taken away there.
  virtual bool apply(std::string& text) const = 0;
  /// True if it turns bytes into the characters of the byte alphabet.
  virtual bool is_byte_level() const { return false; }
};

/// @throws Error(kUnsupported | kCorruptFile) naming the field. A null node gives null.
std::unique_ptr<Normalizer> make_normalizer(const JsonNode& node);

}  // namespace twofold

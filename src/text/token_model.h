// TokenModel: turns one piece of normalized text into ids. Thread-safe after construction.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/vocabulary.h"

namespace twofold {

class TokenModel {
 public:
  virtual ~TokenModel() = default;

  /// Appends the ids of `piece`, which is valid UTF-8.
  virtual void encode(std::string_view piece, std::vector<int32_t>& ids) const = 0;
  /// End of the first part of `piece` from `begin` whose ids do not depend on what follows, nor do
  /// the ids of the rest on it.
  virtual size_t part_end(std::string_view piece, size_t begin) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
  /// The "model" object of a tokenizer.json. @throws Error(kUnsupported) if there is no such form.
  virtual OrderedJson to_json(std::string_view where) const = 0;
};

/// The tokens as an object of texts and ids, in the order of ids. @throws Error(kUnsupported)
/// naming `where` if two tokens have the same text.
OrderedJson vocabulary_to_json(const Vocabulary& vocabulary, std::string_view where);

}  // namespace twofold

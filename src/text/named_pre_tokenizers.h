// The pre-tokenizers that GGUF files name in tokenizer.ggml.pre, for byte-level vocabularies.
#pragma once

#include <string_view>

#include "base/json.h"

namespace twofold {

struct NamedPreTokenizer {
  Json pre_tokenizer;          // object of tokenizer.json
  bool ignore_merges = false;  // see BpeOptions
  bool adds_bos = false;       // unless the file says otherwise
};

/// `name` may be empty: GPT-2's. @throws Error(kUnsupported) listing the names known.
NamedPreTokenizer find_named_pre_tokenizer(std::string_view name, std::string_view where);

}  // namespace twofold

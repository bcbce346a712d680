// The one tokenizer that all sources are turned into: normalizer, added tokens, pre-tokenizer,
// model, post-processor and decoder, as in Hugging Face `tokenizers`.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_model.h"
#include "text/tokenizer.h"

namespace twofold {

/// What a source says. The Json members are objects of tokenizer.json, or null.
struct TokenizerParts {
  Json normalizer, pre_tokenizer, post_processor, decoder;
  std::unique_ptr<TokenModel> model;
  std::vector<AddedToken> added;
  bool normalize_added = true;           // their own text before it is looked for in the text
  std::unique_ptr<Decoder> own_decoder;  // in place of `decoder`, which is then only for export
  int32_t bos_id = -1, eos_id = -1;
  std::optional<bool> add_bos, add_eos;  // override the post-processor
  std::string no_export;                 // why there is no tokenizer.json of this; empty: there is
};

/// @throws Error(kCorruptFile | kUnsupported) naming `where` and the field.
std::unique_ptr<Tokenizer> build_tokenizer(TokenizerParts parts, std::string_view where);

}  // namespace twofold

// What tokenizers of the SentencePiece kind have in common, as objects of tokenizer.json.
#pragma once

#include <string>

#include "text/pipeline_tokenizer.h"

namespace twofold {

/// Spaces become `space`; one more is put before the text if `add_prefix`.
Json sentencepiece_normalizer(const std::string& space, bool add_prefix);

/// The nearest decoder of tokenizer.json, for export.
Json sentencepiece_decoder_json(const std::string& space, bool byte_tokens, bool strip_first);

}  // namespace twofold

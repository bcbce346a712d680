// tokenizer.json already parsed, for the file itself and for sources that are brought into its
// form.
#pragma once

#include "text/pipeline_tokenizer.h"
#include "text/tokenizer_config.h"

namespace twofold {

/// @throws Error(kCorruptFile | kUnsupported) naming `where` and the field.
std::unique_ptr<Tokenizer> build_from_json(const Json& json, const TokenizerConfig& config,
                                           std::string_view where);

}  // namespace twofold

// tokenizer_config.json, as far as it decides ids. Everything else in it is for Python.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"

namespace twofold {

struct TokenizerConfig {
  std::optional<std::string> bos_token, eos_token, unk_token, pad_token;
  std::optional<bool> add_bos_token, add_eos_token, add_prefix_space;
  std::vector<std::string> additional_special_tokens;
  std::vector<AddedToken> added_tokens;  // of "added_tokens_decoder"
};

/// @param text may be empty: then nothing is set.
/// @throws Error(kCorruptFile) naming `where` and the field.
TokenizerConfig read_tokenizer_config(std::string_view text, std::string_view where);

}  // namespace twofold

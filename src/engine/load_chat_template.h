// Finds the chat template that belongs to a model.
#pragma once

#include <optional>

#include "model/model_files.h"
#include "text/chat_template.h"

namespace twofold {

/// The template of a model and the tokens that it may name. A folder's chat_template.jinja comes
/// before tokenizer_config.json, and that before chat_template.json; a GGUF file has
/// tokenizer.chat_template. None if there is none, and of a llama2.c checkpoint.
/// @param file a template to take in place of the model's; empty = the model's.
/// @throws Error(kIo | kCorruptFile) on files that cannot be read.
std::optional<ChatTemplateSource> load_chat_template(const ModelFiles& files,
                                                     const Tokenizer& tokenizer,
                                                     const std::filesystem::path& file = {});

}  // namespace twofold

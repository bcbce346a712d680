// What commands read: a model with its tokenizer, and texts or token ids to run through it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "engine/load_tokenizer.h"
#include "engine/model.h"

namespace twofold::cli {

/// The tokenizer named by the user, or the one that belongs to the model.
/// @param given path from --tokenizer; empty = look beside the model.
/// @throws Error(kIo) if there is none, saying which flags help.
std::unique_ptr<Tokenizer> require_tokenizer(const Model& model, const std::string& given);

}  // namespace twofold::cli

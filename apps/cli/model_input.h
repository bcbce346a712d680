// What commands read: a model with its tokenizer, and texts or token ids to run through it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "engine/load_tokenizer.h"
#include "engine/model.h"
#include "session.h"

namespace twofold::cli {

/// Loads a model. The log says which of its packed formats have no fast kernel here.
/// @throws Error as Model::load.
std::shared_ptr<const Model> load_model(const std::string& path, Session& session);

/// The whole of a file the user names, which may be a pipe: Ctrl-C ends the wait for it.
/// @throws Error as read_text_file.
std::string read_input(const std::filesystem::path& path);

/// The tokenizer named by the user, or the one that belongs to the model.
/// @param given path from --tokenizer; empty = look beside the model.
/// @throws Error(kIo) if there is none, saying which flags help.
std::unique_ptr<Tokenizer> require_tokenizer(const Model& model, const std::string& given);

}  // namespace twofold::cli

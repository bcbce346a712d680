// Files beside the weights of a written folder: configuration, tokenizer, and the checks on where
// it may be written.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "base/context.h"
#include "io/file.h"
#include "model/model_files.h"

namespace twofold {

/// @throws Error(kInvalidArgument) if writing `output` would replace the source or a folder that
/// holds it, or, with `force`, a folder that is not empty and no model.
void check_output_place(const ModelFiles& source, const std::filesystem::path& output, bool force);

/// Writes tokenizer, chat template and generation settings: copied as they are from a folder;
/// translated to tokenizer.json and tokenizer_config.json from other sources. A source without a
/// tokenizer, or with one that has no such form, is noted in the log.
void write_companions(const ModelFiles& source, const OutputFolder& folder, const Context& ctx);

/// Writes config.json.
void write_config(const nlohmann::ordered_json& config, const OutputFolder& folder);

}  // namespace twofold

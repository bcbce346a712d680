// Finds the tokenizer that belongs to a model, or opens one named by the user.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "io/gguf.h"
#include "model/model_files.h"
#include "text/tokenizer.h"

namespace twofold {

/// The tokenizer.ggml.* keys of a GGUF file. @throws Error(kCorruptFile) on a wrong type or an id
/// out of range.
GgufVocabulary gguf_vocabulary(const GgufFile& file);

/// The id in tokenizer.ggml.<name>_token_id, or -1 if the file names none. @throws likewise.
int32_t gguf_token_id(const GgufFile& file, std::string_view name);

/// The tokenizer of a folder (tokenizer.json; vocab.json + merges.txt; tokenizer.model), of a GGUF
/// file, or beside a llama2.c checkpoint (tokenizer.bin, tok<vocab>.bin, tokenizer.model).
/// Null if there is none.
std::unique_ptr<Tokenizer> load_tokenizer(const ModelFiles& files);

/// The files beside a model that load_tokenizer may read and that exist; none for GGUF, which holds
/// its own.
std::vector<std::filesystem::path> tokenizer_files(const ModelFiles& files);

/// Opens a tokenizer file by its content: tokenizer.json, .model, llama2.c .bin, .gguf, or a
/// folder.
/// @throws Error if it is none of them.
std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& path,
                                          const ModelConfig& config);

}  // namespace twofold

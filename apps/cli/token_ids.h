// Reads files of token ids: one sequence a line, as a JSON list or as plain numbers separated by
// spaces, tabs or commas; or one JSON document, a list of lists. Empty lines are skipped. What a
// model cannot take is refused here, where file and line are known.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace twofold::cli {

/// What a sequence must be for a model to take it.
struct IdLimits {
  std::string model;       // its path, for messages
  int64_t vocab_size = 0;  // ids are below it
  int64_t min_count = 1;   // of ids in a sequence
  int64_t max_count = 0;
};

/// @throws Error(kIo); Error(kCorruptFile) naming the line and what was found if it is no list of
///         ids; Error(kInvalidArgument) naming the line and the model if it exceeds `limits`.
std::vector<std::vector<int32_t>> read_token_ids(const std::filesystem::path& path,
                                                 const IdLimits& limits);

/// The same for text already read; `where` names it in messages.
std::vector<std::vector<int32_t>> parse_token_ids(std::string_view text, std::string_view where,
                                                  const IdLimits& limits);

}  // namespace twofold::cli

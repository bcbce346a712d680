// Reads files of token ids: one sequence a line, as a JSON list or as plain numbers separated by
// spaces, tabs or commas; or one JSON document, a list of lists. Empty lines are skipped.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace twofold::cli {

/// @throws Error(kIo), or Error(kCorruptFile) naming the line and what was found.
std::vector<std::vector<int32_t>> read_token_ids(const std::filesystem::path& path);

/// The same for text already read; `where` names it in messages.
std::vector<std::vector<int32_t>> parse_token_ids(std::string_view text, std::string_view where);

}  // namespace twofold::cli

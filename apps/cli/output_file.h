// Files that a command writes at its end, checked at its beginning.
#pragma once

#include <filesystem>

namespace twofold::cli {

/// Finds out whether a file may be written here, before the work whose results it is for. Leaves
/// nothing behind and does not touch an existing file.
/// @throws Error(kIo) naming the file and what is wrong.
void check_output_file(const std::filesystem::path& path);

}  // namespace twofold::cli

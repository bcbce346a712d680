#include "output_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace twofold::cli {

void check_output_file(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    fail(ErrorCode::kIo, path.string(), "expected a file to write, found a folder");
  }
  // A regular file is replaced through its folder; a device or pipe is written as it is.
  const bool special =
      std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error);
  const std::filesystem::path parent = path.has_parent_path() ? path.parent_path() : ".";
  const int refused =
      special ? ::access(path.c_str(), W_OK) : ::access(parent.c_str(), W_OK | X_OK);
  if (refused != 0) {
    fail(ErrorCode::kIo, path.string(), "expected a place to write a file: {}",
         std::strerror(errno));
  }
  if (!special && !std::filesystem::is_directory(parent, error)) {
    fail(ErrorCode::kIo, path.string(), "expected a folder at {}, found a file", parent.string());
  }
}

}  // namespace twofold::cli

#include "temporary_folder.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace twofold::cli {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder(std::string_view purpose) {
  std::error_code error;
  const fs::path parent = fs::temp_directory_path(error);
  if (error) {
    fail(ErrorCode::kIo, "TMPDIR", "expected a folder for temporary files: {}", error.message());
  }
  std::string name = (parent / fmt::format("twofold-{}-XXXXXX", purpose)).string();
  if (::mkdtemp(name.data()) == nullptr) {
    fail(ErrorCode::kIo, name, "cannot make a folder: {}", std::strerror(errno));
  }
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace twofold::cli

// A folder for what a command makes on its way.
#pragma once

#include <filesystem>
#include <string_view>

namespace twofold::cli {

/// A new folder among the system's temporary ones, removed with everything in it.
class TemporaryFolder {
 public:
  /// @param purpose becomes part of its name. @throws Error(kIo)
  explicit TemporaryFolder(std::string_view purpose);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace twofold::cli

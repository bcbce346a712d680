// Where tests find data: files of the repository, and optional files outside it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

namespace twofold::testing {

inline std::filesystem::path source_dir() { return TWOFOLD_SOURCE_DIR; }
inline std::filesystem::path test_data(const std::string& name) {
  return source_dir() / "tests" / "data" / name;
}
/// A file below the folder named by TWOFOLD_DATA (laid out as the authors' data folder), or
/// nothing: then the test must GTEST_SKIP() with the path it looked for.
inline std::optional<std::filesystem::path> outside_data(const std::string& name) {
  const char* root = std::getenv("TWOFOLD_DATA");
  if (root == nullptr) return std::nullopt;
  std::filesystem::path path = std::filesystem::path(root) / name;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}
inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace twofold::testing

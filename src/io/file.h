// Files: read-only mappings, whole small files, and folders that appear under their final name only
// when complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace twofold {

/// A file mapped read-only. Copies share the mapping.
class MappedFile {
 public:
  /// @throws Error(kIo) if the file is missing, is a folder, or cannot be mapped.
  static MappedFile open(const std::filesystem::path& path);

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }
  std::shared_ptr<const void> owner() const { return owner_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
};

/// The whole file as text. @throws Error(kIo), or Error(kCorruptFile) above `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, uint64_t max_bytes = 1ull << 30);

/// Sequential writer; every error throws Error(kIo) with the path and the system's message.
class FileWriter {
 public:
  explicit FileWriter(const std::filesystem::path& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void fill(std::byte value, uint64_t count);
  uint64_t size() const { return size_; }
  /// Flushes to the disk and closes; call it before the file may be used.
  void finish();

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// A folder being written as "NAME.partial"; `commit` syncs it and renames it to NAME. Destroyed
/// without commit it removes what it wrote. An existing NAME is refused, unless `replace`, and then
/// removed only at commit.
class OutputFolder {
 public:
  /// @throws Error(kInvalidArgument) if `path` exists and not `replace`; Error(kIo) otherwise.
  OutputFolder(const std::filesystem::path& path, bool replace);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  const std::filesystem::path& partial() const { return partial_; }
  std::filesystem::path file(std::string_view name) const { return partial_ / name; }
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path partial_;
  bool replace_ = false;
  bool committed_ = false;
};

/// Writes `text` to `path` through a temporary file and rename.
void write_text_file(const std::filesystem::path& path, std::string_view text);

}  // namespace twofold

// Files: read-only mappings, whole small files, and folders that appear under their final name only
// when complete. No process-wide state; objects may be used by one thread at a time, mappings by
// any number. A mapped file must not be shortened by others while it is in use.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace twofold {

/// A file mapped read-only. Copies share the mapping.
class MappedFile {
 public:
  /// @throws Error(kIo) if the file is missing, is a folder, pipe or device, or cannot be mapped.
  static MappedFile open(const std::filesystem::path& path);

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }
  std::shared_ptr<const void> owner() const { return owner_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
};

/// Gives the memory of whole pages inside `mapped`, bytes of a MappedFile, back to the system; they
/// are read again when they are next used. Other memory must not be named here: it would be lost.
void release_pages(std::span<const std::byte> mapped);

/// Bytes of a page of memory.
int64_t page_bytes();

/// The whole file as text. A pipe is waited for until it has had a writer and has none any more.
/// @param cancel ends that wait; may be null.
/// @throws Error(kIo), Error(kCorruptFile) above `max_bytes`, Error(kCancelled) once `cancel` is
/// set while a pipe has nothing to read.
std::string read_text_file(const std::filesystem::path& path, uint64_t max_bytes = 1ull << 30,
                           const std::atomic<bool>* cancel = nullptr);
inline std::string read_text_file(const std::filesystem::path& path,
                                  const std::atomic<bool>* cancel) {
  return read_text_file(path, 1ull << 30, cancel);
}
/// The same, or nothing if there is no such file.
std::string read_text_or_empty(const std::filesystem::path& path);

/// Sequential writer; every error throws Error(kIo) with the path and the system's message.
class FileWriter {
 public:
  /// Creates the file, or empties an existing one.
  explicit FileWriter(const std::filesystem::path& path);
  /// Goes on after the first `kept_bytes` of an existing file; what follows them is cut off.
  /// @throws Error(kCorruptFile) if the file is shorter.
  FileWriter(const std::filesystem::path& path, uint64_t kept_bytes);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void fill(std::byte value, uint64_t count);
  uint64_t size() const { return size_; }
  /// Hands everything to the system: it survives the end of this process, however it ends.
  void flush();
  /// Flushes to the disk and closes; call it before the file may be used. Without it the file keeps
  /// whatever part was already handed to the system.
  void finish();

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
  std::vector<std::byte> buffer_;  // not yet handed to the system
};

/// A folder being written as "NAME.partial"; `commit` syncs it and renames it to NAME. Destroyed
/// without commit it removes what it wrote, unless `keep_partial` was called. An existing NAME is
/// refused, unless `replace`, and then exchanged with the new folder and removed at commit: under
/// NAME there is always a whole folder.
///
/// While it is written, NAME.partial holds a file named kPartialMarker and a lock (flock), which
/// the system releases when the process ends, however it ends. A NAME.partial with the marker and
/// without the lock is left over from an earlier process: it is emptied, or kept to be gone on
/// with, and used. A second writer gets an error; so does a NAME.partial that is not ours.
class OutputFolder {
 public:
  static constexpr std::string_view kPartialMarker = ".twofold-partial";
  /// NAME.partial of `path`, also where that ends in a slash.
  static std::filesystem::path partial_of(const std::filesystem::path& path);

  /// What becomes of the files of an earlier process in NAME.partial.
  enum class Leftover { kRemove, kKeep };

  /// @throws Error(kInvalidArgument) if `path` exists and not `replace`, or is not a folder, or
  /// holds the current directory; Error(kIo) if another process writes it or the system refuses.
  OutputFolder(const std::filesystem::path& path, bool replace,
               Leftover leftover = Leftover::kRemove);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  const std::filesystem::path& partial() const { return partial_; }
  std::filesystem::path file(std::string_view name) const { return partial_ / name; }
  /// Removes all files written so far.
  void clear();
  /// From now on NAME.partial stays when this object goes without commit.
  void keep_partial() { keeps_partial_ = true; }
  /// Syncs files and folder, then renames; the folder is complete on disk when this returns.
  /// @throws Error(kIo); the destructor then removes what was written.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path partial_;
  bool replace_ = false;
  bool keeps_partial_ = false;
  bool committed_ = false;
  int lock_fd_ = -1;  // the folder itself, locked
};

/// True if there is something at `path`. @throws Error(kIo) if the system does not let us see it.
bool path_exists(const std::filesystem::path& path);

/// Writes `text` to `path` through a temporary file beside it and rename, so that a reader sees the
/// old text or the new one. A device or pipe (/dev/stdout) is written directly. @throws Error(kIo)
void write_text_file(const std::filesystem::path& path, std::string_view text);

}  // namespace twofold

// What file.cpp and output_folder.cpp share: file descriptors that close themselves and the
// system's error messages. Not installed.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace twofold {

/// Throws Error(kIo) "<path>: cannot <action>: <message of `error_number`>".
[[noreturn]] inline void fail_errno(const std::filesystem::path& path, std::string_view action,
                                    int error_number) {
  fail(ErrorCode::kIo, path.string(), "cannot {}: {}", action,
       std::generic_category().message(error_number));
}

/// Owns a file descriptor.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// Calls `operation` again while it is interrupted by a signal.
template <class Operation>
auto retry_interrupted(const Operation& operation) {
  auto result = operation();
  while (result == -1 && errno == EINTR) result = operation();
  return result;
}

/// Makes the contents of an open file or folder durable. Devices and pipes that cannot be synced
/// count as synced.
inline void sync_or_fail(int fd, const std::filesystem::path& path) {
  if (retry_interrupted([&] { return ::fsync(fd); }) != 0 && errno != EINVAL && errno != EROFS) {
    fail_errno(path, "flush to disk", errno);
  }
}

}  // namespace twofold

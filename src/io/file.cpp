#include "io/file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "io/posix.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBufferBytes = size_t{1} << 18;

FileDescriptor open_for_reading(const fs::path& path, struct stat& status) {
  // Opening a pipe that nobody writes would wait, whatever happens meanwhile; reading can be waited
  // for with an end to it.
  FileDescriptor fd(
      retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
  if (fd.get() < 0) fail_errno(path, "open", errno);
  if (::fstat(fd.get(), &status) != 0) fail_errno(path, "read its status", errno);
  if (S_ISDIR(status.st_mode)) fail(ErrorCode::kIo, path.string(), "is a folder, expected a file");
  return fd;
}

/// Returns when reading will give bytes, an error, or the end: of a pipe that there was a writer
/// of, as the system does not report the end of one that nobody has opened yet.
void wait_for_input(int fd, const fs::path& path, const std::atomic<bool>* cancel) {
  constexpr int kCheckMs = 100;  // a signal may come to another thread, or just before poll()
  pollfd input{fd, POLLIN, 0};
  while (true) {
    if (cancel != nullptr && cancel->load()) fail(ErrorCode::kCancelled, "", "interrupted");
    const int ready = ::poll(&input, 1, cancel != nullptr ? kCheckMs : -1);
    if (ready > 0) return;
    if (ready < 0 && errno != EINTR) fail_errno(path, "wait for input", errno);
  }
}

void write_all(int fd, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written =
        retry_interrupted([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (written < 0) fail_errno(path, "write", errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

}  // namespace

MappedFile MappedFile::open(const fs::path& path) {
  struct stat status {};
  const FileDescriptor fd = open_for_reading(path, status);
  if (!S_ISREG(status.st_mode)) {
    fail(ErrorCode::kIo, path.string(), "is a device or pipe, expected a regular file");
  }
  MappedFile file;
  file.path_ = path;
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return file;
  void* const address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (address == MAP_FAILED) fail_errno(path, "map into memory", errno);
  // The mapping outlives the descriptor.
  file.owner_ = std::shared_ptr<const void>(
      address, [size](const void* p) { ::munmap(const_cast<void*>(p), size); });
  file.bytes_ = {static_cast<const std::byte*>(address), size};
  return file;
}

int64_t page_bytes() {
  const long bytes = ::sysconf(_SC_PAGESIZE);
  return bytes > 0 ? bytes : 4096;
}

void release_pages(std::span<const std::byte> mapped) {
  const auto page = static_cast<uintptr_t>(page_bytes());
  const auto first = reinterpret_cast<uintptr_t>(mapped.data());
  const uintptr_t begin = (first + page - 1) / page * page;
  const uintptr_t end = (first + mapped.size()) / page * page;
  // Advice only: where it is refused the pages stay.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::string read_text_file(const fs::path& path, uint64_t max_bytes,
                           const std::atomic<bool>* cancel) {
  struct stat status {};
  const FileDescriptor fd = open_for_reading(path, status);
  const auto refuse_size = [&](uint64_t size) {
    fail(ErrorCode::kCorruptFile, path.string(), "expected at most {} bytes, found {}", max_bytes,
         size);
  };
  const bool is_regular = S_ISREG(status.st_mode);
  std::string text;
  if (is_regular) {
    const auto size = static_cast<uint64_t>(status.st_size);
    if (size > max_bytes) refuse_size(size);
    text.reserve(static_cast<size_t>(size));
  }
  // Pipes and files of /proc do not know their size: read until the end.
  std::array<char, 1 << 16> chunk;
  while (true) {
    if (!is_regular) wait_for_input(fd.get(), path, cancel);
    const ssize_t got =
        retry_interrupted([&] { return ::read(fd.get(), chunk.data(), chunk.size()); });
    if (got < 0 && errno == EAGAIN) continue;  // another reader was faster
    if (got < 0) fail_errno(path, "read", errno);
    if (got == 0) return text;
    text.append(chunk.data(), static_cast<size_t>(got));
    if (text.size() > max_bytes) refuse_size(text.size());
  }
}

bool path_exists(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::status_known(status)) {
    fail(ErrorCode::kIo, path.string(), "cannot read its status: {}", error.message());
  }
  return fs::exists(status);
}

std::string read_text_or_empty(const fs::path& path) {
  return fs::is_regular_file(path) ? read_text_file(path) : std::string();
}

FileWriter::FileWriter(const fs::path& path) : path_(path) {
  buffer_.reserve(kBufferBytes);
  fd_ = retry_interrupted(
      [&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666); });
  if (fd_ < 0) fail_errno(path, "create", errno);
}

FileWriter::FileWriter(const fs::path& path, uint64_t kept_bytes) : path_(path) {
  buffer_.reserve(kBufferBytes);
  FileDescriptor fd(
      retry_interrupted([&] { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW); }));
  if (fd.get() < 0) fail_errno(path, "open", errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) fail_errno(path, "read its status", errno);
  if (!S_ISREG(status.st_mode) || static_cast<uint64_t>(status.st_size) < kept_bytes) {
    fail(ErrorCode::kCorruptFile, path.string(), "expected a file of at least {} bytes, found {}",
         kept_bytes, status.st_size);
  }
  const auto end = static_cast<off_t>(kept_bytes);
  if (retry_interrupted([&] { return ::ftruncate(fd.get(), end); }) != 0 ||
      ::lseek(fd.get(), end, SEEK_SET) != end) {
    fail_errno(path, "cut off its end", errno);
  }
  size_ = kept_bytes;
  fd_ = fd.release();
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void FileWriter::flush() {
  write_all(fd_, buffer_, path_);
  buffer_.clear();
}

void FileWriter::write(std::span<const std::byte> bytes) {
  TWOFOLD_ASSERT(fd_ >= 0);
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() >= kBufferBytes) {
    write_all(fd_, bytes, path_);
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  size_ += bytes.size();
}

void FileWriter::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void FileWriter::fill(std::byte value, uint64_t count) {
  std::array<std::byte, 4096> block;
  block.fill(value);
  while (count > 0) {
    const uint64_t step = std::min<uint64_t>(count, block.size());
    write(std::span(block).first(static_cast<size_t>(step)));
    count -= step;
  }
}

void FileWriter::finish() {
  TWOFOLD_ASSERT(fd_ >= 0);
  flush();
  sync_or_fail(fd_, path_);
  if (::close(std::exchange(fd_, -1)) != 0) fail_errno(path_, "close", errno);
}

void write_text_file(const fs::path& path, std::string_view text) {
  std::error_code error;
  fs::path target = path;
  if (fs::exists(path, error)) {
    if (!fs::is_regular_file(path, error)) {  // a device or pipe has no old text to protect
      FileWriter direct(path);
      direct.write(text);
      direct.finish();
      return;
    }
    target = fs::canonical(path);  // a link stays a link
  }
  fs::path temporary = target;
  temporary += fmt::format(".{}.tmp", ::getpid());
  try {
    FileWriter writer(temporary);
    writer.write(text);
    writer.finish();
    fs::rename(temporary, target, error);
    if (error) fail(ErrorCode::kIo, path.string(), "cannot replace: {}", error.message());
  } catch (...) {
    fs::remove(temporary, error);
    throw;
  }
}

}  // namespace twofold

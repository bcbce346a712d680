#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>

#include "io/file.h"
#include "io/posix.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

FileDescriptor open_path(const fs::path& path, int flags) {
  return FileDescriptor(
      retry_interrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0666); }));
}

void sync_path(const fs::path& path, int flags) {
  const FileDescriptor fd = open_path(path, O_RDONLY | flags);
  if (fd.get() < 0) fail_errno(path, "open", errno);
  sync_or_fail(fd.get(), path);
}

/// Calls `operation(error_code)` and throws Error(kIo) with the path if it fails.
template <class Operation>
auto checked(const fs::path& path, std::string_view action, const Operation& operation) {
  std::error_code error;
  const auto result = operation(error);
  if (error) fail(ErrorCode::kIo, path.string(), "cannot {}: {}", action, error.message());
  return result;
}

bool present(const fs::path& path) {  // a dangling link exists too
  const fs::file_status status = checked(path, "read its status", [&](std::error_code& error) {
    const fs::file_status found = fs::symlink_status(path, error);
    if (!fs::exists(found)) error.clear();
    return found;
  });
  return fs::exists(status);
}

/// True if `path` is the current directory or holds it: such a folder is never replaced.
bool holds_current_directory(const fs::path& path) {
  std::error_code error;
  const fs::path folder = fs::canonical(path, error);
  const fs::path current = fs::current_path(error);
  return std::mismatch(folder.begin(), folder.end(), current.begin(), current.end()).first ==
         folder.end();
}

void check_target(const fs::path& path, bool replace) {
  if (path.filename().empty() || path.filename() == "." || path.filename() == "..") {
    fail(ErrorCode::kInvalidArgument, path.string(), "expected the name of a folder to create");
  }
  if (!present(path)) return;
  if (!replace) {
    fail(ErrorCode::kInvalidArgument, path.string(),
         "exists already; expected a new folder, or --force to replace this one");
  }
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    fail(ErrorCode::kInvalidArgument, path.string(), "is not a folder: will not be replaced");
  }
  if (holds_current_directory(path)) {
    fail(ErrorCode::kInvalidArgument, path.string(),
         "holds the current directory: will not be replaced");
  }
}

/// Locks the folder `partial`; the lock belongs to the open folder, not to its name. Where the file
/// system has no locks on folders, having created it just now is the only proof of ownership.
/// @return a descriptor < 0 if the name was given to another folder between open and lock.
FileDescriptor lock_folder(const fs::path& partial, bool created) {
  FileDescriptor fd = open_path(partial, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (fd.get() < 0) {
    if (errno == ENOENT) return fd;
    fail_errno(partial, "open", errno);
  }
  if (retry_interrupted([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) != 0) {
    if (errno == EWOULDBLOCK) {
      fail(ErrorCode::kIo, partial.string(), "is being written by another process");
    }
    if (!created) fail_errno(partial, "lock", errno);
  }
  struct stat locked {};
  struct stat named {};
  if (::fstat(fd.get(), &locked) != 0 || ::lstat(partial.c_str(), &named) != 0 ||
      locked.st_ino != named.st_ino || locked.st_dev != named.st_dev) {
    return FileDescriptor();
  }
  return fd;
}

/// @throws Error(kIo) if the folder holds files and is not one of ours.
void check_leftover(const fs::path& partial) {
  if (!present(partial / OutputFolder::kPartialMarker) &&
      !checked(partial, "read", [&](std::error_code& e) { return fs::is_empty(partial, e); })) {
    fail(ErrorCode::kIo, partial.string(),
         "exists and was not made by this program: move it away to go on");
  }
}

/// Removes everything but the marker.
void empty_folder(const fs::path& partial) {
  const fs::path marker = partial / OutputFolder::kPartialMarker;
  std::error_code error;
  for (fs::directory_iterator entry(partial, error), end; entry != end; entry.increment(error)) {
    if (error) break;
    if (entry->path() == marker) continue;  // last to go, so that the rest stays known as ours
    checked(entry->path(), "remove",
            [&](std::error_code& e) { return fs::remove_all(entry->path(), e); });
  }
  if (error) fail(ErrorCode::kIo, partial.string(), "cannot read: {}", error.message());
}

void write_marker(const fs::path& folder) {
  const fs::path marker = folder / OutputFolder::kPartialMarker;
  if (open_path(marker, O_WRONLY | O_CREAT).get() < 0) fail_errno(marker, "create", errno);
}

void sync_tree(const fs::path& folder) {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_symlink()) continue;
    if (entry.is_directory()) sync_path(entry.path(), O_DIRECTORY);
    if (entry.is_regular_file()) sync_path(entry.path(), 0);
  }
  sync_path(folder, O_DIRECTORY);
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

int rename_with(const fs::path& from, const fs::path& to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

/// True if the file system does not know the flag of renameat2.
bool not_offered(int error_number) { return error_number == EINVAL || error_number == ENOSYS; }

/// Gives `partial` the name `path`, which nothing has.
void rename_new(const fs::path& partial, const fs::path& path) {
  int error_number = rename_with(partial, path, RENAME_NOREPLACE);
  if (not_offered(error_number)) {
    error_number = present(path) ? EEXIST : rename_with(partial, path, 0);
  }
  if (error_number != 0) fail_errno(path, "rename the finished folder to it", error_number);
}

/// Gives `partial` the name `path`. @return the name that the folder formerly at `path` now has.
fs::path rename_over(const fs::path& partial, const fs::path& path) {
  fs::path old = partial;
  int error_number = rename_with(partial, path, RENAME_EXCHANGE);
  if (not_offered(error_number)) {
    old = path;
    old += ".old";
    error_number = rename_with(path, old, 0);
    if (error_number == 0) {
      error_number = rename_with(partial, path, 0);
      if (error_number != 0) rename_with(old, path, 0);
    }
  }
  if (error_number != 0) fail_errno(path, "replace", error_number);
  return old;
}

/// "folder/" has an empty last part.
fs::path without_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

void remove_folder(const fs::path& folder) {
  write_marker(folder);  // should the removal be interrupted
  checked(folder, "remove", [&](std::error_code& error) { return fs::remove_all(folder, error); });
}

}  // namespace

fs::path OutputFolder::partial_of(const fs::path& path) {
  fs::path partial = without_slash(path);
  partial += ".partial";
  return partial;
}

OutputFolder::OutputFolder(const fs::path& path, bool replace, Leftover leftover)
    : path_(without_slash(path)), partial_(partial_of(path)), replace_(replace) {
  check_target(path_, replace);
  FileDescriptor lock;
  while (lock.get() < 0) {
    const bool created = ::mkdir(partial_.c_str(), 0777) == 0;
    if (!created && errno != EEXIST) fail_errno(partial_, "create", errno);
    lock = lock_folder(partial_, created);
  }
  check_leftover(partial_);
  if (leftover == Leftover::kRemove) empty_folder(partial_);
  try {
    write_marker(partial_);
  } catch (...) {
    ::rmdir(partial_.c_str());
    throw;
  }
  lock_fd_ = lock.release();
}

OutputFolder::~OutputFolder() {
  if (!committed_ && !keeps_partial_) {
    std::error_code ignored;  // a destructor has nobody to tell; the marker lets the next run clean
    fs::remove_all(partial_, ignored);
  }
  ::close(lock_fd_);
}

void OutputFolder::clear() { empty_folder(partial_); }

void OutputFolder::commit() {
  TWOFOLD_ASSERT(!committed_);
  try {
    sync_tree(partial_);
    fs::path old;
    FileDescriptor old_lock;  // keeps other writers from the old folder while it is removed
    if (replace_ && present(path_)) {
      old_lock = open_path(path_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (old_lock.get() >= 0) ::flock(old_lock.get(), LOCK_EX | LOCK_NB);
      old = rename_over(partial_, path_);
    } else {
      rename_new(partial_, path_);
    }
    committed_ = true;
    fs::remove(path_ / kPartialMarker);
    sync_path(path_, O_DIRECTORY);
    sync_path(parent_of(path_), O_DIRECTORY);
    if (!old.empty()) remove_folder(old);
  } catch (const fs::filesystem_error& error) {
    fail(ErrorCode::kIo, path_.string(), "cannot finish: {}", error.what());
  }
}

}  // namespace twofold

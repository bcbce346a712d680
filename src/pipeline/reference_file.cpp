#include "pipeline/reference_file.h"

#include <cstring>

#include "base/error.h"

namespace twofold {

namespace fs = std::filesystem;

ReferenceFile::ReferenceFile(fs::path path, std::string key)
    : path_(std::move(path)), partial_(path_.string() + ".partial"), key_(std::move(key)) {
  std::error_code ignored;
  if (!fs::exists(path_, ignored)) return;
  MappedFile file = MappedFile::open(path_);
  const std::span<const std::byte> head =
      file.bytes().first(std::min(key_.size(), file.bytes().size()));
  if (head.size() == key_.size() && std::memcmp(head.data(), key_.data(), key_.size()) == 0) {
    file_ = std::make_unique<MappedFile>(std::move(file));
  }
}

ReferenceFile::~ReferenceFile() {
  if (writer_ == nullptr) return;
  writer_.reset();
  std::error_code ignored;
  fs::remove(partial_, ignored);
}

bool ReferenceFile::load(int64_t batch, std::span<float> hidden) {
  if (file_ == nullptr) return false;
  if (batch == 0) at_ = key_.size();
  const std::span<const std::byte> bytes = file_->bytes();
  if (hidden.size_bytes() > bytes.size() - at_) {
    fail(ErrorCode::kCorruptFile, path_.string(), "expected at least {} bytes, found {}",
         at_ + hidden.size_bytes(), bytes.size());
  }
  std::memcpy(hidden.data(), bytes.data() + at_, hidden.size_bytes());
  at_ += hidden.size_bytes();
  return true;
}

void ReferenceFile::save(int64_t batch, std::span<const float> hidden) {
  if (batch == 0) {
    writer_ = std::make_unique<FileWriter>(partial_);
    writer_->write(key_);
  }
  writer_->write(std::as_bytes(hidden));
}

void ReferenceFile::complete() {
  if (writer_ == nullptr) return;
  writer_->finish();
  writer_.reset();
  std::error_code error;
  fs::rename(partial_, path_, error);
  if (error) fail(ErrorCode::kIo, path_.string(), "cannot rename to it: {}", error.message());
}

}  // namespace twofold

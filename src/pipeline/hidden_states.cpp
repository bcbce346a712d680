#include "pipeline/hidden_states.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFilePrefix = "hidden-states-";
constexpr const char* kPassFile = "hidden-states-next.f32";

std::span<const std::byte> bytes_of(Matrix<const float> rows) {
  return std::as_bytes(std::span(rows.data, static_cast<size_t>(rows.rows * rows.cols)));
}

/// Removes the files of hidden states that `keep` does not want. One that stays does no harm.
template <class Keep>
void remove_files_of(const fs::path& folder, const Keep& keep) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (!entry.path().filename().string().starts_with(kFilePrefix) || keep(entry.path())) continue;
    fs::remove(entry.path(), ignored);
  }
}

}  // namespace

HiddenStates::HiddenStates(std::vector<int64_t> tokens, int64_t width, fs::path folder,
                           bool in_memory)
    : tokens_(std::move(tokens)), width_(width), folder_(std::move(folder)), in_memory_(in_memory) {
  int64_t rows = 0, longest = 0;
  for (const int64_t count : tokens_) {
    first_row_.push_back(rows);
    rows += count;
    longest = std::max(longest, count);
  }
  first_row_.push_back(rows);
  rows_ = AlignedBuffer<float>(static_cast<size_t>((in_memory_ ? rows : longest) * width_));
}

int64_t HiddenStates::bytes(int64_t tokens, int64_t longest, int64_t width, bool in_memory) {
  return (in_memory ? tokens : longest) * width * static_cast<int64_t>(sizeof(float));
}

int64_t HiddenStates::file_bytes() const {
  return first_row_.back() * width_ * static_cast<int64_t>(sizeof(float));
}

fs::path HiddenStates::file_of(int layer) const {
  return folder_ / fmt::format("{}{}.f32", kFilePrefix, layer);
}

Matrix<float> HiddenStates::open(int64_t i) {
  const auto sample = static_cast<size_t>(i);
  const int64_t first = first_row_[sample], count = tokens_[sample];
  if (in_memory_) return {rows_.data() + first * width_, count, width_};
  const Matrix<float> rows(rows_.data(), count, width_);
  if (layer_ >= 0) {
    const auto bytes =
        current_.bytes().subspan(static_cast<size_t>(first * width_) * sizeof(float),
                                 static_cast<size_t>(count * width_) * sizeof(float));
    std::memcpy(rows.data, bytes.data(), bytes.size());
    release_pages(bytes);
  }
  return rows;
}

void HiddenStates::begin_pass() {
  hash_.clear();
  if (in_memory_) return;
  next_ = std::make_unique<FileWriter>(folder_ / kPassFile);
  next_hash_ = Sha256();
}

void HiddenStates::store(int64_t i) {
  if (in_memory_) return;
  const auto bytes = bytes_of({rows_.data(), tokens_[static_cast<size_t>(i)], width_});
  next_->write(bytes);
  next_hash_.update(bytes);
}

void HiddenStates::end_pass(int layer) {
  if (!in_memory_) {
    next_->flush();
    next_.reset();
    hash_ = next_hash_.hex();
    std::error_code error;
    fs::rename(folder_ / kPassFile, file_of(layer), error);
    if (error) fail(ErrorCode::kIo, file_of(layer).string(), "cannot rename: {}", error.message());
    current_ = MappedFile::open(file_of(layer));
    const fs::path old = file_of(layer_);
    if (old != saved_) fs::remove(old, error);
  }
  layer_ = layer;
}

std::string HiddenStates::save() {
  if (in_memory_ && hash_.empty()) {
    const auto bytes = bytes_of({rows_.data(), first_row_.back(), width_});
    FileWriter writer(file_of(layer_));
    writer.write(bytes);
    writer.flush();
    hash_ = sha256_hex(bytes);
  }
  saved_ = file_of(layer_);
  return hash_;
}

void HiddenStates::load(int layer, std::string_view sha256) {
  const fs::path path = file_of(layer);
  const MappedFile file = MappedFile::open(path);
  if (static_cast<int64_t>(file.bytes().size()) != file_bytes() ||
      sha256_hex(file.bytes()) != sha256) {
    fail(ErrorCode::kCorruptFile, path.string(), "has changed since it was written");
  }
  if (in_memory_) {
    std::memcpy(rows_.data(), file.bytes().data(), file.bytes().size());
  } else {
    current_ = file;
  }
  release_pages(file.bytes());
  layer_ = layer;
  hash_ = sha256;
  saved_ = path;
}

void HiddenStates::remove_old_files() {
  const fs::path current = in_memory_ ? fs::path() : file_of(layer_);
  remove_files_of(folder_, [&](const fs::path& path) { return path == saved_ || path == current; });
}

void HiddenStates::remove_files(const fs::path& folder) {
  remove_files_of(folder, [](const fs::path&) { return false; });
}

}  // namespace twofold

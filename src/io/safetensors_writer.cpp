#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "base/checked_math.h"
#include "base/json.h"
#include "base/sha256.h"
#include "io/safetensors.h"

namespace twofold {
namespace {

constexpr size_t kDataAlignment = 64;
constexpr std::string_view kIndexName = "model.safetensors.index.json";

struct Shard {
  std::string file_name;
  std::string header;         // size, JSON and padding: everything before the data
  size_t first = 0, end = 0;  // tensors of the plan
  uint64_t data_bytes = 0;
};

uint64_t planned_bytes(const TensorPlan& tensor) {
  return static_cast<uint64_t>(
      stored_bytes(stored_type_of(tensor.dtype), tensor.shape, tensor.name));
}

/// Cuts the plan before each tensor that would exceed `max_shard_bytes`.
std::vector<Shard> cut_into_shards(const std::vector<TensorPlan>& plan, uint64_t max_shard_bytes) {
  std::vector<Shard> shards(1);
  for (const TensorPlan& tensor : plan) {
    const uint64_t bytes = planned_bytes(tensor);
    if (shards.back().end > shards.back().first &&
        shards.back().data_bytes + bytes > max_shard_bytes) {
      const size_t first = shards.back().end;
      shards.push_back({});
      shards.back().first = shards.back().end = first;
    }
    shards.back().data_bytes += bytes;
    ++shards.back().end;
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].file_name =
        shards.size() == 1 ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  }
  return shards;
}

std::string make_header(std::span<const TensorPlan> tensors,
                        const std::map<std::string, std::string>& metadata) {
  OrderedJson json = OrderedJson::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const TensorPlan& tensor : tensors) {
    const uint64_t end = offset + planned_bytes(tensor);
    json[tensor.name] = {{"dtype", dtype_info(tensor.dtype).name},
                         {"shape", tensor.shape},
                         {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = json.dump();
  text.append((kDataAlignment - (8 + text.size()) % kDataAlignment) % kDataAlignment, ' ');
  const uint64_t size = text.size();
  std::string header(8, '\0');
  for (size_t i = 0; i < 8; ++i) header[i] = static_cast<char>(size >> (8 * i) & 0xff);
  return header + text;
}

void check_names(const std::vector<TensorPlan>& plan) {
  std::set<std::string_view> names;
  for (const TensorPlan& tensor : plan) {
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      fail(ErrorCode::kInternal, tensor.name, "tensor name reserved or planned twice");
    }
  }
}

}  // namespace

uint64_t safetensors_bytes(const std::vector<TensorPlan>& plan,
                           const std::map<std::string, std::string>& metadata,
                           uint64_t max_shard_bytes) {
  uint64_t total = 0;
  for (const Shard& shard : cut_into_shards(plan, max_shard_bytes)) {
    const auto tensors = std::span(plan).subspan(shard.first, shard.end - shard.first);
    total += make_header(tensors, metadata).size() + shard.data_bytes;
  }
  return total;
}

struct SafetensorsWriter::Impl {
  std::filesystem::path folder;
  std::vector<TensorPlan> plan;
  std::vector<Shard> shards;
  size_t shard = 0;           // being written, or the next one while `file` is null
  size_t tensor = 0;          // of the plan, being written
  uint64_t tensor_bytes = 0;  // already written of it
  std::unique_ptr<FileWriter> file;

  Impl(const std::filesystem::path& folder_, std::vector<TensorPlan> plan_,
       const std::map<std::string, std::string>& metadata, uint64_t max_shard_bytes)
      : folder(folder_), plan(std::move(plan_)), shards(cut_into_shards(plan, max_shard_bytes)) {
    check_names(plan);
    for (Shard& s : shards) {
      s.header = make_header(std::span(plan).subspan(s.first, s.end - s.first), metadata);
    }
  }

  /// Takes over the tensors of existing files that have these hashes.
  void resume(std::span<const std::string> sha256) {
    while (true) {
      const Shard& current = shards[shard];
      const uint64_t bytes = keep(current, sha256);
      if (tensor == current.end && shard + 1 < shards.size()) {
        ++shard;
        continue;
      }
      if (bytes > 0) file = std::make_unique<FileWriter>(folder / current.file_name, bytes);
      return advance();
    }
  }

  /// Moves `tensor` past those of a shard that are as they were written.
  /// @return bytes of its file to be kept, with the header; 0 if that is not there.
  uint64_t keep(const Shard& s, std::span<const std::string> sha256) {
    const std::filesystem::path path = folder / s.file_name;
    if (!std::filesystem::is_regular_file(path)) return 0;
    const MappedFile mapped = MappedFile::open(path);
    const std::span<const std::byte> bytes = mapped.bytes();
    uint64_t end = s.header.size();
    if (bytes.size() < end || std::memcmp(bytes.data(), s.header.data(), end) != 0) return 0;
    for (; tensor < s.end && tensor < sha256.size(); ++tensor) {
      const uint64_t size = planned_bytes(plan[tensor]);
      if (bytes.size() - end < size) break;
      const auto data = bytes.subspan(end, size);
      const bool intact = sha256_hex(data) == sha256[tensor];
      release_pages(data);
      if (!intact) break;
      end += size;
    }
    return end;
  }

  /// Where a tensor is: its shard's file, and the bytes before it there.
  std::pair<std::filesystem::path, uint64_t> place_of(size_t i) const {
    const auto s = std::ranges::find_if(shards, [i](const Shard& x) { return i < x.end; });
    TWOFOLD_ASSERT(s != shards.end());
    uint64_t offset = s->header.size();
    for (size_t j = s->first; j < i; ++j) offset += planned_bytes(plan[j]);
    return {folder / s->file_name, offset};
  }

  /// Moves past finished tensors (and those without bytes), opening and finishing shards.
  void advance() {
    while (shard < shards.size()) {
      const Shard& current = shards[shard];
      if (file == nullptr) {
        file = std::make_unique<FileWriter>(folder / current.file_name);
        file->write(current.header);
      }
      while (tensor < current.end && tensor_bytes == planned_bytes(plan[tensor])) {
        ++tensor;
        tensor_bytes = 0;
      }
      if (tensor < current.end) return;
      file->finish();
      file.reset();
      ++shard;
    }
  }

  void write_index() const {
    OrderedJson names = OrderedJson::object();
    std::map<std::string, std::string> sorted;
    uint64_t data_bytes = 0;
    for (const Shard& s : shards) {
      for (size_t i = s.first; i < s.end; ++i) sorted[plan[i].name] = s.file_name;
      data_bytes += s.data_bytes;
    }
    for (const auto& [name, file_name] : sorted) names[name] = file_name;
    const OrderedJson index = {{"metadata", {{"total_size", data_bytes}}}, {"weight_map", names}};
    write_text_file(folder / kIndexName, dump_json(index));
  }
};

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& folder,
                                     std::vector<TensorPlan> plan,
                                     std::map<std::string, std::string> metadata,
                                     uint64_t max_shard_bytes)
    : impl_(std::make_unique<Impl>(folder, std::move(plan), metadata, max_shard_bytes)) {
  impl_->advance();
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& folder,
                                     std::vector<TensorPlan> plan,
                                     std::map<std::string, std::string> metadata,
                                     std::span<const std::string> sha256, uint64_t max_shard_bytes)
    : impl_(std::make_unique<Impl>(folder, std::move(plan), metadata, max_shard_bytes)) {
  impl_->resume(sha256);
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  if (impl_->tensor >= impl_->plan.size()) {
    fail(ErrorCode::kInternal, impl_->folder.string(), "data after the last planned tensor");
  }
  const TensorPlan& tensor = impl_->plan[impl_->tensor];
  const uint64_t expected = planned_bytes(tensor) - impl_->tensor_bytes;
  if (bytes.size() > expected) {
    fail(ErrorCode::kInternal, tensor.name, "expected {} bytes more, was given {}", expected,
         bytes.size());
  }
  impl_->file->write(bytes);
  impl_->tensor_bytes += bytes.size();
  impl_->advance();
}

void SafetensorsWriter::flush() {
  if (impl_->file != nullptr) impl_->file->flush();
}

size_t SafetensorsWriter::written() const { return impl_->tensor; }

Tensor SafetensorsWriter::read(size_t i) const {
  TWOFOLD_ASSERT(i < impl_->tensor);
  const TensorPlan& tensor = impl_->plan[i];
  const auto [path, offset] = impl_->place_of(i);
  const MappedFile file = MappedFile::open(path);
  const uint64_t size = planned_bytes(tensor);
  if (file.bytes().size() < offset || file.bytes().size() - offset < size) {
    fail(ErrorCode::kCorruptFile, path.string(), "expected {} bytes of {}, found fewer", size,
         tensor.name);
  }
  return {{tensor.dtype, tensor.shape, file.bytes().subspan(offset, size)}, file.owner()};
}

void SafetensorsWriter::finish() {
  if (impl_->tensor < impl_->plan.size()) {
    fail(ErrorCode::kInternal, impl_->plan[impl_->tensor].name, "planned but not written");
  }
  if (impl_->shards.size() > 1) impl_->write_index();
}

uint64_t SafetensorsWriter::total_bytes() const {
  uint64_t total = 0;
  for (const Shard& shard : impl_->shards) total += shard.header.size() + shard.data_bytes;
  return total;
}

}  // namespace twofold

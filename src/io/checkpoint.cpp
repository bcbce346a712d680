#include "io/checkpoint.h"

#include <set>

#include "base/json.h"
#include "io/file.h"
#include "io/safetensors.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

/// The weight_map of an index: tensor name -> file name.
std::map<std::string, std::string> read_weight_map(const fs::path& index_path) {
  const std::string where = index_path.string();
  const Json index = parse_json(read_text_file(index_path), where);
  const auto entry = index.find("weight_map");
  if (!index.is_object() || entry == index.end() || !entry->is_object() || entry->empty()) {
    fail(ErrorCode::kCorruptFile, where, "expected an object \"weight_map\" with tensor names");
  }
  std::map<std::string, std::string> map;
  for (const auto& [name, file] : entry->items()) {
    if (!file.is_string()) {
      fail(ErrorCode::kCorruptFile, where, "weight_map of {}: expected a file name, found {}", name,
           file.type_name());
    }
    const auto& file_name = file.get_ref<const std::string&>();
    if (file_name.empty() || file_name == "." || file_name == ".." ||
        file_name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      fail(ErrorCode::kCorruptFile, where,
           "weight_map of {}: expected the name of a file in the same folder, found \"{}\"", name,
           file_name);
    }
    map[name] = file_name;
  }
  return map;
}

Checkpoint open_shards(const fs::path& index_path) {
  const std::map<std::string, std::string> weight_map = read_weight_map(index_path);
  std::set<std::string> file_names;
  for (const auto& [name, file_name] : weight_map) file_names.insert(file_name);
  std::vector<StoredTensor> tensors;
  for (const std::string& file_name : file_names) {
    for (StoredTensor& tensor : read_safetensors(index_path.parent_path() / file_name).tensors) {
      const auto listed = weight_map.find(tensor.name);
      if (listed == weight_map.end() || listed->second != file_name) {
        fail(ErrorCode::kCorruptFile, tensor.where(), "{} {}", index_path.filename().string(),
             listed == weight_map.end() ? "does not list it" : "expects it in " + listed->second);
      }
      tensors.push_back(std::move(tensor));
    }
  }
  Checkpoint checkpoint(index_path.string(), std::move(tensors));
  for (const auto& [name, file_name] : weight_map) {
    if (!checkpoint.has(name)) {
      fail(ErrorCode::kCorruptFile, (index_path.parent_path() / file_name).string(),
           "expected tensor {}, which {} lists, found none", name, index_path.filename().string());
    }
  }
  return checkpoint;
}

}  // namespace

Checkpoint::Checkpoint(std::string source, std::vector<StoredTensor> tensors)
    : source_(std::move(source)), tensors_(std::move(tensors)) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const auto [first, inserted] = index_.emplace(tensors_[i].name, i);
    if (!inserted) {
      fail(ErrorCode::kCorruptFile, tensors_[i].where(), "given before in {}",
           tensors_[first->second].file);
    }
  }
}

bool Checkpoint::has(std::string_view name) const { return index_.find(name) != index_.end(); }

const StoredTensor& Checkpoint::get(std::string_view name) const {
  const auto found = index_.find(name);
  if (found == index_.end()) {
    fail(ErrorCode::kCorruptFile, source_, "expected tensor {}, found none of that name", name);
  }
  return tensors_[found->second];
}

int64_t Checkpoint::stored_bytes() const {
  int64_t total = 0;
  for (const StoredTensor& tensor : tensors_) total += static_cast<int64_t>(tensor.bytes.size());
  return total;
}

Checkpoint open_safetensors_folder(const fs::path& folder) {
  const fs::path single = folder / "model.safetensors";
  const fs::path index = folder / "model.safetensors.index.json";
  if (path_exists(single)) {
    return Checkpoint(single.string(), read_safetensors(single).tensors);
  }
  if (path_exists(index)) return open_shards(index);
  fail(ErrorCode::kIo, folder.string(),
       "expected model.safetensors or model.safetensors.index.json, found neither");
}

}  // namespace twofold

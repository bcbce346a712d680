// Checkpoint: the tensors of a model by name, from whatever file holds them. A Hugging Face folder
// is one safetensors file or shards with an index.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/stored_tensor.h"

namespace twofold {

class Checkpoint {
 public:
  Checkpoint() = default;
  /// @throws Error(kCorruptFile) on a name given twice.
  Checkpoint(std::string source, std::vector<StoredTensor> tensors);

  const std::string& source() const { return source_; }
  bool has(std::string_view name) const;
  /// @throws Error(kCorruptFile) naming the source and the tensor that is missing.
  const StoredTensor& get(std::string_view name) const;
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  /// Sum of the stored bytes.
  int64_t stored_bytes() const;

 private:
  std::string source_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;
};

/// Opens model.safetensors, or the shards of model.safetensors.index.json, of a folder.
/// @throws Error(kIo) if neither is there; Error(kCorruptFile) if index and shards disagree.
Checkpoint open_safetensors_folder(const std::filesystem::path& folder);

}  // namespace twofold

// safetensors: a JSON header (names, types, shapes, offsets) and raw little-endian data. Reads one
// mapped file; writes with the header first, padded with spaces so that data starts at a multiple
// of 64 bytes, every tensor in the order given, without holes.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/stored_tensor.h"
#include "tensor/tensor.h"

namespace twofold {

struct SafetensorsFile {
  std::map<std::string, std::string> metadata;  // "__metadata__"
  std::vector<StoredTensor> tensors;            // in file order
};

/// Parses the header and checks every offset: in order, no overlap, no hole, inside the file, and
/// equal to the size of type and shape. @throws Error(kCorruptFile) naming file, tensor, expected
/// and found.
SafetensorsFile read_safetensors(const std::filesystem::path& path);

/// What will be written: sizes are known before any data.
struct TensorPlan {
  std::string name;
  DType dtype;
  Shape shape;
};

/// Most bytes of one file, unless one tensor is larger.
inline constexpr uint64_t kMaxShardBytes = 5ull << 30;

/// Bytes of all files that a SafetensorsWriter of this plan writes.
uint64_t safetensors_bytes(const std::vector<TensorPlan>& plan,
                           const std::map<std::string, std::string>& metadata,
                           uint64_t max_shard_bytes = kMaxShardBytes);

/// Streams tensors to one file or to shards with an index.
class SafetensorsWriter {
 public:
  /// @param folder where "model.safetensors" or "model-00001-of-0000N.safetensors" and
  ///        "model.safetensors.index.json" go.
  /// @param max_shard_bytes a new shard starts before a tensor that would exceed it.
  SafetensorsWriter(const std::filesystem::path& folder, std::vector<TensorPlan> plan,
                    std::map<std::string, std::string> metadata,
                    uint64_t max_shard_bytes = kMaxShardBytes);
  /// Goes on with files that an earlier writer of the same plan left: keeps the first tensors whose
  /// bytes have these hashes, up to the first that is missing or has changed, which `written`
  /// tells. What follows them is cut off. @throws Error(kIo).
  SafetensorsWriter(const std::filesystem::path& folder, std::vector<TensorPlan> plan,
                    std::map<std::string, std::string> metadata,
                    std::span<const std::string> sha256, uint64_t max_shard_bytes = kMaxShardBytes);
  ~SafetensorsWriter();
  /// Appends data of the next tensor of the plan; may be called in pieces.
  /// @throws Error(kInternal) if more bytes come than the plan says.
  void write(std::span<const std::byte> bytes);
  /// Hands everything written so far to the system: it survives the end of this process.
  void flush();
  /// Number of tensors whose data was written completely.
  size_t written() const;
  /// Tensor `i` of the plan, out of the files, mapped; it was written completely and flushed.
  Tensor read(size_t i) const;
  /// Checks that everything planned was written; syncs.
  void finish();
  /// Bytes of all weight files (header and data).
  uint64_t total_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace twofold

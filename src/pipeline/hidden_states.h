// HiddenStates: the hidden states of all calibration samples between two blocks, float32, in memory
// or in a file that is read and written a sample at a time. The numbers are exactly the same either
// way. Files belong to the folder of an unfinished quantization, named after the block they enter.
// One thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/sha256.h"
#include "io/file.h"
#include "tensor/tensor.h"

namespace twofold {

class HiddenStates {
 public:
  /// @param tokens of each sample.
  HiddenStates(std::vector<int64_t> tokens, int64_t width, std::filesystem::path folder,
               bool in_memory);

  int64_t samples() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t width() const { return width_; }
  bool in_memory() const { return in_memory_; }
  /// The block that the states enter; -1 before the first pass.
  int layer() const { return layer_; }

  /// The states of sample `i`, [tokens[i], width], free to be changed; valid until the next call.
  /// In the first pass their contents are arbitrary.
  Matrix<float> open(int64_t i);
  /// A pass changes all samples in order: open(i), then store(i), for i = 0, 1, ...
  void begin_pass();
  void store(int64_t i);
  void end_pass(int layer);

  /// Makes sure that the states are in a file of the folder. @return its SHA-256.
  std::string save();
  /// Takes the states that `save` left for `layer`.
  /// @throws Error(kIo | kCorruptFile) if the file is missing or has changed.
  void load(int layer, std::string_view sha256);
  /// Removes all files but that of the last `save`.
  void remove_old_files();
  /// Removes all files of hidden states from a folder.
  static void remove_files(const std::filesystem::path& folder);

  /// Bytes in memory.
  static int64_t bytes(int64_t tokens, int64_t longest, int64_t width, bool in_memory);
  int64_t file_bytes() const;

 private:
  std::filesystem::path file_of(int layer) const;

  std::vector<int64_t> tokens_;
  std::vector<int64_t> first_row_;  // of each sample; one more element: the number of rows
  int64_t width_;
  std::filesystem::path folder_;
  bool in_memory_;
  int layer_ = -1;
  AlignedBuffer<float> rows_;  // all samples, or the open one
  // In a file:
  MappedFile current_;                // states that enter `layer_`
  std::unique_ptr<FileWriter> next_;  // of the running pass
  Sha256 next_hash_;
  std::string hash_;             // of the file for `layer_`; empty if there is none
  std::filesystem::path saved_;  // of the last `save` or `load`
};

}  // namespace twofold

// Hidden states of a reference model in a file, so that a comparison runs it once. The file is
// there only when it is whole; it is mapped only while it is read.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "eval/evaluate.h"
#include "io/file.h"

namespace twofold {

class ReferenceFile : public ReferenceStates {
 public:
  /// Uses `path` if it was written for `key`, 64 hexadecimal digits; otherwise makes it anew.
  ReferenceFile(std::filesystem::path path, std::string key);
  ~ReferenceFile() override;
  ReferenceFile(const ReferenceFile&) = delete;
  ReferenceFile& operator=(const ReferenceFile&) = delete;

  bool load(int64_t batch, std::span<float> hidden) override;
  void save(int64_t batch, std::span<const float> hidden) override;
  /// All batches were saved: the file may be used from now on. @throws Error(kIo)
  void complete();

 private:
  std::filesystem::path path_, partial_;
  std::string key_;
  std::unique_ptr<MappedFile> file_;  // the whole file, if it is there
  std::unique_ptr<FileWriter> writer_;
  size_t at_ = 0;  // bytes of file_ that were read
};

}  // namespace twofold

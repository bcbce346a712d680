// WriteBehind: finished matrices go to the weight file and into the log beside the work on the next
// one. One thread at a time; file and log belong to it until `finish` or `settle` returns.
#pragma once

#include <future>
#include <utility>

#include "base/sha256.h"
#include "formats/format.h"
#include "io/safetensors.h"
#include "pipeline/resume_state.h"

namespace twofold {

class WriteBehind {
 public:
  ~WriteBehind() { settle(); }
  /// Writes the next matrix of the plan and notes it when its bytes are safe from the end of this
  /// process. @throws what writing the matrix before threw.
  void write(SafetensorsWriter& file, ResumeLog& log, const PackedMatrix& packed,
             FinishedMatrix matrix) {
    finish();
    pending_ = std::async(std::launch::async, [&file, &log, tensor = packed.bytes,
                                               noted = std::move(matrix)]() mutable {
      file.write(tensor.view.bytes);
      file.flush();
      noted.sha256 = sha256_hex(tensor.view.bytes);
      log.add(noted);
    });
  }
  /// Waits until nothing is being written. @throws as `write`.
  void finish() {
    if (pending_.valid()) pending_.get();
  }
  /// Waits, whatever comes of it.
  void settle() {
    if (pending_.valid()) pending_.wait();
  }

 private:
  std::future<void> pending_;
};

}  // namespace twofold

// Context: what long-running library calls get from their caller: threads, instruction set, a
// cancel flag, and callbacks for log lines and progress. Plain references; the caller owns all.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "base/cpu.h"
#include "base/error.h"
#include "base/thread_pool.h"

namespace twofold {

/// Receives progress: `done` of `total` steps of the work called `what`. Called from one thread.
using ProgressFn = std::function<void(std::string_view what, int64_t done, int64_t total)>;
/// Receives one line of log text without a newline.
using LogFn = std::function<void(std::string_view line)>;

/// What packed matrices are multiplied by.
enum class Activations {
  kFloat,  // float32, as they are
  kInt8,   // rounded to int8 in blocks; the integer kernels
};

struct ActivationsMode {
  std::string_view name, help;
  Activations activations;
};
std::span<const ActivationsMode> all_activations();
/// @throws Error(kInvalidArgument) listing the names.
const ActivationsMode& find_activations(std::string_view name);

struct Context {
  ThreadPool& pool;
  Isa isa = Isa::kScalar;
  Activations activations = Activations::kFloat;
  /// Packed kernels run at `isa` or at this level, whichever is lower: all give the same bits.
  Isa kernel_limit = Isa::kAmx;
  const std::atomic<bool>* cancel = nullptr;
  ProgressFn progress = {};
  LogFn log = {};

  /// @throws Error(kCancelled) once the cancel flag is set.
  void check_cancelled() const {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) {
      fail(ErrorCode::kCancelled, "", "interrupted");
    }
  }
  void report(std::string_view what, int64_t done, int64_t total) const {
    if (progress) progress(what, done, total);
  }
  void note(std::string_view line) const {
    if (log) log(line);
  }
};

}  // namespace twofold

// MemoryPlan: how much memory a quantization will need, phase by phase, counted from shapes before
// anything starts, and the fastest way of working that fits into a budget. The numbers that are
// written do not depend on the way.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "calib/samples.h"
#include "pipeline/work_plan.h"

namespace twofold {

struct MemoryMode {
  bool states_in_memory = true;  // else in a file of the unfinished folder
  StageSize stages = {};         // of whose inputs moments are in memory at once
};

struct MemoryNeed {
  int64_t bytes = 0;
  std::string phase;  // that needs most
};

/// What counts a plan: sizes of everything that is in memory at once.
struct MemoryRequest {
  const ModelFiles& source;
  const WorkPlan& work;
  const CalibrationSamples* samples = nullptr;  // null without calibration
  bool score = false;
  bool true_sequential = false;  // moments input by input in every mode
  int threads = 1;
  int64_t resident_bytes = 0;  // of the process, before it starts
};

/// Memory that the process holds now, with mapped pages of files.
int64_t resident_bytes();

/// The peak of the whole process.
MemoryNeed predict_memory(const MemoryRequest& request, MemoryMode mode);

/// The fastest mode that fits into `budget` bytes; everything in memory without a budget.
/// @throws Error(kInvalidArgument) with the least that works if none fits.
MemoryMode choose_memory_mode(const MemoryRequest& request, std::optional<int64_t> budget);

}  // namespace twofold

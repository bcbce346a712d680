// The flags of calibration, the same for every command that quantizes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "flag_table.h"
#include "pipeline/quantize_model.h"

namespace twofold::cli {

struct CalibrationFlags {
  std::vector<std::string> files;
  std::optional<int64_t> samples, context;
  std::optional<std::string> sampling, memory;
  bool true_sequential = false;
};

std::vector<Flag> calibration_flags(CalibrationFlags& flags);

/// What the flags say, set in `options`. @throws Error(kInvalidArgument) on a --memory that is no
/// number of bytes.
void apply(const CalibrationFlags& flags, QuantizeOptions& options);

}  // namespace twofold::cli

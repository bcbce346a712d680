// Forecast: what a quantization will cost, before it starts. Bytes are exact, memory is counted
// from shapes, time comes from short measurements: one sample through a block of each kind, and a
// few rows of each kind of matrix through its method.
#pragma once

#include <cstdint>
#include <string>

#include "pipeline/quantize_model.h"

namespace twofold {

struct Forecast {
  int64_t bytes = 0;              // of all weight files
  int64_t peak_memory_bytes = 0;  // of the process
  std::string peak_phase;         // that needs most memory
  int64_t disk_bytes = 0;         // that NAME.partial takes at most
  double seconds = 0;
};

/// Writes nothing. @throws as quantize_model, as far as it is known before anything is written.
Forecast forecast_quantization(const ModelFiles& source, const Recipe& recipe,
                               const QuantizeOptions& options, const Context& ctx);

nlohmann::ordered_json to_json(const Forecast& forecast);

}  // namespace twofold

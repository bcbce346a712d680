// Whole models: quantize (source -> folder of docs/folder.md), import (source -> plain Hugging Face
// folder) and inspect. Plain functions; one matrix of the source is in memory at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "model/model_files.h"
#include "pipeline/recipe.h"

namespace twofold {

struct QuantizeOptions {
  std::filesystem::path output;
  bool force = false;  // replace an existing folder
  uint64_t seed = 0;
  std::string command_line = {};  // recorded in the report
};

inline constexpr std::string_view kKeepMethod = "keep";

/// One row of the report, per matrix.
struct MatrixReport {
  std::string name;
  int64_t rows = 0, cols = 0;
  bool quantized = false;
  std::string method;         // "pot"; kKeepMethod if not quantized
  std::string format;         // "r16-t4", "f16", "q4_k"
  nlohmann::json parameters;  // everything MethodChoice says; null if not quantized
  int64_t bytes = 0;          // with everything the matrix needs
  double bits_per_weight = 0;
  std::optional<double> proxy_loss;  // as Solution; nothing if it is not recorded
  double seconds = 0;
  std::vector<std::string> notes;
};

struct QuantizeReport {
  std::vector<MatrixReport> matrices;  // every two-dimensional tensor, kept ones too
  int64_t bytes = 0;                   // of all weight files
  int64_t parameters = 0;              // of the source, tied ones once
  double bits_per_weight = 0;          // over the quantized matrices; over all if there are none
  double bits_per_weight_total = 0;    // 8 bytes / parameters
  double seconds = 0;
};

/// Quantizes and writes. Nothing appears under options.output unless everything succeeded. The
/// weight file depends on source, recipe and seed only, not on the number of threads.
/// @throws Error as open_model, solve and OutputFolder; Error(kUnsupported) naming the tensor on
/// NaN or infinity, and if the source is quantized already; Error(kCancelled).
QuantizeReport quantize_model(const ModelFiles& source, const Recipe& recipe,
                              const QuantizeOptions& options, const Context& ctx);

struct ImportOptions {
  std::filesystem::path output;
  bool force = false;
  std::optional<DType> dtype = {};  // F32, F16, BF16; default: as stored, and F16 for block types
};

/// Rewrites any readable source as a plain Hugging Face folder, a panel of weights at a time.
/// @throws Error as open_model and OutputFolder; Error(kInvalidArgument) on another dtype;
/// Error(kUnsupported) naming the tensor on NaN, infinity or a number too large for the dtype, and
/// on a source that twofold quantized; Error(kCancelled).
void import_model(const ModelFiles& source, const ImportOptions& options, const Context& ctx);

/// The figures of `inspect`, for any model; methods and losses from the folder's report.
/// @throws Error(kIo | kCorruptFile) if a quantized folder has no report that fits it.
QuantizeReport inspect_model(const ModelFiles& files);
/// The interface of `inspect --json` (docs/folder.md).
nlohmann::ordered_json to_json(const QuantizeReport& report);

}  // namespace twofold

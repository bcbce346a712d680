// Quantization of a whole model: source -> folder of architecture.md section 5.
#pragma once

#include <cstdint>
#include <filesystem>
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
  std::string command_line;  // recorded in the report
};

/// One row of the report, per matrix.
struct MatrixReport {
  std::string name;
  int64_t rows = 0, cols = 0;
  std::string method;         // "pot", or "keep"
  std::string format;         // "r16-t4", "f16"
  nlohmann::json parameters;  // everything MethodChoice says
  int64_t bytes = 0;          // with everything the matrix needs
  double bits_per_weight = 0;
  double proxy_loss = 0;
  double seconds = 0;
  std::vector<std::string> notes;
};

struct QuantizeReport {
  std::vector<MatrixReport> matrices;  // every two-dimensional tensor, kept ones too
  int64_t bytes = 0;                   // of all weight files
  int64_t parameters = 0;              // of the source, tied ones once
  double bits_per_weight = 0;          // over the quantized matrices
  double bits_per_weight_total = 0;    // 8 bytes / parameters
  double seconds = 0;
};

/// Quantizes and writes. Nothing appears under options.output unless everything succeeded.
/// @throws Error as open_model, solve and OutputFolder; Error(kCancelled).
QuantizeReport quantize_model(const ModelFiles& source, const Recipe& recipe,
                              const QuantizeOptions& options, const Context& ctx);

/// Rewrites any readable source as a plain Hugging Face folder (F32, F16 or BF16).
struct ImportOptions {
  std::filesystem::path output;
  bool force = false;
  std::optional<DType> dtype;  // default: as stored; F16 for block-quantized sources
};
void import_model(const ModelFiles& source, const ImportOptions& options, const Context& ctx);

/// The figures of `inspect`, for any model; losses and methods from the folder's report if any.
QuantizeReport inspect_model(const ModelFiles& files);
nlohmann::ordered_json to_json(const QuantizeReport& report);

}  // namespace twofold

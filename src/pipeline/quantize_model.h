// Whole models: quantize (source -> folder of docs/folder.md), import (source -> plain Hugging Face
// folder) and inspect. Plain functions. Quantizing holds one block of the source in memory, or the
// matrices of one layer input where nothing is calibrated.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/context.h"
#include "calib/samples.h"
#include "formats/format.h"
#include "model/model_files.h"
#include "pipeline/recipe.h"

namespace twofold {

struct QuantizeOptions {
  std::filesystem::path output = {};
  bool force = false;  // replace an existing folder
  uint64_t seed = 0;
  std::string command_line = {};  // recorded in the report
  /// Set: second moments are collected for all matrices in blocks. Not set: only for methods that
  /// need them, from the built-in texts.
  std::optional<CalibrationOptions> calibration = {};
  /// Moments of an input are collected after the earlier inputs of its block were quantized.
  bool true_sequential = false;
  /// Most memory to use, in bytes: hidden states go to a file and moments are collected input by
  /// input as far as needed. The result does not depend on it.
  std::optional<int64_t> memory_bytes = {};
  bool resume = true;  // go on with what an interrupted run of the same work left
  bool score = false;  // score the result and the source on held-back text
  /// Least time between copies of the hidden states; a run that ends with an error earlier
  /// leaves nothing.
  double save_interval_seconds = 10;
};

inline constexpr std::string_view kKeepMethod = "keep";

/// One row of the report, per matrix.
struct MatrixReport {
  std::string name;
  int64_t rows = 0, cols = 0;
  bool quantized = false;
  std::string method;              // "pot"; kKeepMethod if not quantized
  std::string format;              // "r16-t4", "f16", "q4_k"
  nlohmann::json parameters;       // everything MethodChoice says; null if not quantized
  int64_t bytes = 0;               // with everything the matrix needs
  std::optional<ByteKinds> kinds;  // of these, their sum; of inspect_model only
  double bits_per_weight = 0;
  std::optional<double> proxy_loss;  // as Solution; nothing if it is not recorded
  double seconds = 0;
  double explore_seconds = 0;  // of them, for trying more grids in the loop
  std::vector<std::string> notes;
};

/// What calibration found at one layer input.
struct InputReport {
  std::string name;
  int64_t tokens = 0;   // that were summed
  int64_t dropped = 0;  // tokens with a number that is not finite
  int64_t dead = 0;     // columns that were always 0
};

struct CalibrationReport {
  std::string source, text_sha256;  // as CalibrationSamples
  int64_t samples = 0, context = 0;
  std::string sampling;
  bool true_sequential = false;
  std::vector<InputReport> inputs;
};

/// Loss of the result and of the source on the same tokens, nats per token.
struct SelfScore {
  std::string text;  // where the tokens come from
  int64_t tokens = 0;
  double source_nats = 0, result_nats = 0;
};
/// Above the source's loss by more than this, a result is called broken.
inline constexpr double kBrokenNats = 1.5;

struct PhaseSeconds {
  std::string phase;
  double seconds = 0;
};

/// A tensor that is no matrix, or of which matrices take a part only.
struct TensorReport {
  std::string name, format;
  int64_t bytes = 0;         // that no matrix has
  std::string counted_with;  // the matrix whose bytes hold these; empty if none does
};

/// Where the bytes of the weight files are that no matrix has.
struct OtherBytes {
  std::vector<TensorReport> tensors;
  int64_t headers = 0;  // and padding between tensors
};

struct QuantizeReport {
  std::vector<MatrixReport> matrices;  // every two-dimensional tensor, kept ones too
  int64_t bytes = 0;                   // of all weight files
  int64_t parameters = 0;              // of the source, tied ones once
  double bits_per_weight = 0;          // over the quantized matrices; over all if there are none
  double bits_per_weight_total = 0;    // 8 bytes / parameters
  double seconds = 0;
  std::optional<OtherBytes> others;  // of inspect_model only
  // Of a run of quantize_model only:
  std::optional<CalibrationReport> calibration;
  std::vector<PhaseSeconds> phases;
  int64_t peak_memory_bytes = 0;  // of the process
  std::optional<SelfScore> score;
  std::vector<std::string> notes;
};

/// Quantizes and writes. Nothing appears under options.output unless everything succeeded. The
/// weight file depends on source, recipe, calibration text and seed only, not on the number of
/// threads or on memory. A run that was interrupted leaves NAME.partial with the matrices that it
/// finished; the same call goes on there and writes the same bytes as if nothing had happened.
/// @throws Error as open_model, load_samples, solve and OutputFolder; Error(kInvalidArgument) if a
/// matrix outside of blocks would need second moments, or if no way of working fits into
/// options.memory_bytes; Error(kUnsupported) naming the tensor on NaN or infinity, and if the
/// source is quantized already; Error(kCancelled).
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

/// The figures of `inspect`, for any model; methods and losses from the folder's report. Bytes of
/// matrices, of tensors that are counted with none, and headers are those of the weight files.
/// Reads headers, not weights: damaged codes and scales are found where a model is loaded.
/// @throws Error(kIo | kCorruptFile) if a quantized folder has no report that fits it.
QuantizeReport inspect_model(const ModelFiles& files);
/// The bytes of all matrices by kind.
ByteKinds kinds_of(std::span<const MatrixReport> matrices);
/// The interface of `inspect --json` (docs/folder.md).
nlohmann::ordered_json to_json(const QuantizeReport& report);
/// The interface of `quantize --json`: the same, after what is known of the run.
nlohmann::ordered_json run_to_json(const QuantizeReport& report);

}  // namespace twofold

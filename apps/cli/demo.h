// The demonstration: the character model that comes with the program, quantized in several ways,
// each written to disk, read back, scored and timed.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/context.h"
#include "eval/evaluate.h"
#include "pipeline/recipe.h"

namespace twofold::cli {

/// A row of the demonstration's table: what happens to which tensors.
struct DemoVariant {
  std::string_view name;
  std::string_view series;  // which curve of the chart it belongs to; empty = the float model
  MethodRequest request;    // of the block linears
  /// True: the head's copy of the token table is quantized like the blocks and both embedding
  /// tables stay float, as in the PoT paper's runs. False: head and tables get 8 bits.
  bool tables_float = false;
  bool sampled = false;     // a sample of its text is shown
  bool calibrated = false;  // on windows of the training part of the text
};

/// The float model first.
std::span<const DemoVariant> demo_variants();
/// What a variant does, as a recipe. The variant must not be the float model.
Recipe demo_recipe(const DemoVariant& variant);

struct DemoRow {
  const DemoVariant* variant = nullptr;
  double bits_per_weight = 0, bits_per_weight_total = 0;
  int64_t bytes = 0;  // of the weight files
  EvalResult score;
  double tokens_per_second = 0;  // generation, one token at a time
  std::string sample;            // empty unless variant->sampled
};

struct DemoOptions {
  std::filesystem::path model;  // folder with the model, its tokenizer and input.txt
  uint64_t seed = 0;            // of the samples
};

/// The validation split of the text: bytes [begin, end) of input.txt. What is before it, the model
/// was trained on, and calibrates on: its first windows.
inline constexpr int64_t kDemoTextBegin = 892315, kDemoTextEnd = 1003854;
inline constexpr int64_t kDemoCalibrationWindows = 128, kDemoCalibrationContext = 64;
inline constexpr std::string_view kDemoProtocol = "nanogpt-full";

/// Runs everything; folders of the variants are temporary.
/// @throws Error as the library, and Error(kCorruptFile) if the text is too short.
std::vector<DemoRow> run_demo(const DemoOptions& options, const Context& ctx);

/// Where the model lies: installed with the program, or in the source tree it was built from.
/// Relative to the working directory if it is inside.
std::filesystem::path default_demo_model();

/// Loss above the float model's, the first row, against bits, as SVG.
std::string demo_chart(std::span<const DemoRow> rows);

}  // namespace twofold::cli

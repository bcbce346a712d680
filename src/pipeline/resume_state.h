// ResumeState: what an unfinished quantization keeps beside its weight file so that the same
// command can go on after the last finished matrix, and the fingerprint that says what "the same"
// is. Its file grows line by line, so that keeping a matrix costs the same however many there are.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "calib/samples.h"
#include "io/file.h"
#include "pipeline/quantize_model.h"
#include "pipeline/rate_plan.h"

namespace twofold {

/// A matrix that was quantized and written.
struct FinishedMatrix {
  std::string sha256 = {};  // of its bytes in the weight file
  MatrixReport row = {};
  nlohmann::ordered_json stored = {};     // its entry in "tensors" of the configuration
  std::vector<float> input_scale = {};    // of its transform; empty with all but its first reader
  std::optional<InputReport> input = {};  // what calibration found where it reads
  std::vector<PhaseSeconds> phases = {};  // of the run until then
  double seconds = 0;
};

/// Hidden states in a file of the folder.
struct SavedStates {
  int layer = -1;  // the block that they enter; -1: none are saved
  std::string sha256 = {};
};

struct ResumeState {
  std::string fingerprint;
  RatePlan rates = {};                        // as far as the recipe was planned
  std::vector<FinishedMatrix> matrices = {};  // in the order of the weight file
  SavedStates states = {};
  size_t matrices_before_states = 0;
};

inline constexpr std::string_view kResumeFile = "resume.jsonl";

/// Hash of everything the weights depend on: program version and build, instruction set,
/// source (see source_fingerprint, and samples of its data), recipe, seed, calibration tokens.
/// @param samples null without calibration.
std::string work_fingerprint(const ModelFiles& source, const Recipe& recipe,
                             const QuantizeOptions& options, const CalibrationSamples* samples,
                             const Context& ctx);

/// Nothing if there is none. A last line that was cut off is left out.
/// @throws Error(kIo), Error(kCorruptFile) naming the line.
std::optional<ResumeState> read_resume_state(const std::filesystem::path& folder);

/// The file, while it grows. What was added survives the end of this process, however it ends. One
/// thread at a time.
class ResumeLog {
 public:
  /// Replaces the state in `folder`.
  ResumeLog(const std::filesystem::path& folder, const ResumeState& state);
  /// @throws Error(kIo).
  void add(const FinishedMatrix& matrix);
  void add(const SavedStates& states);
  /// Number of matrices that the file holds.
  int64_t matrices() const { return matrices_; }

 private:
  void add_line(const nlohmann::ordered_json& json);

  int64_t matrices_;
  FileWriter file_;
};

}  // namespace twofold

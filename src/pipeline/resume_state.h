// ResumeState: what an unfinished quantization keeps beside its weight file so that the same
// command can go on after the last finished block, and the fingerprint that says what "the same"
// is.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "calib/samples.h"
#include "pipeline/quantize_model.h"

namespace twofold {

struct ResumeState {
  std::string fingerprint;
  int64_t blocks = 0;   // finished ones of OutputPlan::blocks
  int64_t tensors = 0;  // written to the weight file
  std::string data_sha256;
  int layer = -1;             // the block that the saved hidden states enter; -1: none are saved
  std::string hidden_sha256;  // of their file
  int64_t steps = 0;          // of the progress
  nlohmann::ordered_json stored;                           // "tensors" of the configuration so far
  std::map<std::string, std::vector<float>> input_scales;  // of transforms, by tensor
  std::vector<MatrixReport> matrices;
  std::vector<InputReport> inputs;
  std::vector<PhaseSeconds> phases;
  double seconds = 0;
};

inline constexpr std::string_view kResumeFile = "resume.json";

/// Hash of everything the weights depend on: program version and build, instruction set,
/// source (see source_fingerprint, and samples of its data), recipe, seed, calibration tokens.
/// @param samples null without calibration.
std::string work_fingerprint(const ModelFiles& source, const Recipe& recipe,
                             const QuantizeOptions& options, const CalibrationSamples* samples,
                             const Context& ctx);

/// Replaces the state in `folder`; a reader sees the old one or the new one.
void write_resume_state(const std::filesystem::path& folder, const ResumeState& state);
/// Nothing if there is none. @throws Error(kIo | kCorruptFile).
std::optional<ResumeState> read_resume_state(const std::filesystem::path& folder);

}  // namespace twofold

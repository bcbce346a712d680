// The arithmetic of a QuantizeReport and its file, quantization_report.json.
#pragma once

#include <filesystem>
#include <string>

#include "base/context.h"
#include "pipeline/quantize_model.h"

namespace twofold {

inline constexpr std::string_view kReportFile = "quantization_report.json";

/// As --activations says it.
std::string activations_name(Activations activations);

/// Bits per weight; 0 for no weights.
double bits_over(int64_t bytes, int64_t weights);

/// Sets bits_per_weight of each matrix from its bytes, and both totals.
void complete_figures(QuantizeReport& report);

/// SHA-256 of configuration, tensor names, types, shapes and sizes: tells sources apart without
/// reading their weights.
std::string source_fingerprint(const ModelFiles& source);

/// An object: kind -> bytes.
nlohmann::ordered_json to_json(const ByteKinds& kinds);

/// Rows of the report, and back.
/// @throws nlohmann's exceptions from the functions that read, for the caller to name the file.
nlohmann::ordered_json to_json(const MatrixReport& matrix);
MatrixReport matrix_from_json(const nlohmann::ordered_json& json);
nlohmann::ordered_json to_json(const InputReport& input);
InputReport input_from_json(const nlohmann::ordered_json& json);
/// An object: phase -> seconds.
nlohmann::ordered_json to_json(const std::vector<PhaseSeconds>& phases);
std::vector<PhaseSeconds> phases_from_json(const nlohmann::ordered_json& json);

/// The report file: the whole run, then what `to_json` gives.
nlohmann::ordered_json report_json(const QuantizeReport& report, const ModelFiles& source,
                                   const QuantizeOptions& options, const Context& ctx);

/// Fills method, parameters, loss, seconds and notes of `report.matrices` from a report file.
/// @throws Error(kIo | kCorruptFile) if it is missing, malformed or about other matrices.
void read_report(const std::filesystem::path& path, QuantizeReport& report);

}  // namespace twofold

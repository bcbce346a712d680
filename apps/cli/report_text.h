// A quantization report for people, shared by `quantize` and `inspect`.
#pragma once

#include <string>
#include <vector>

#include "flag_table.h"
#include "pipeline/forecast.h"
#include "pipeline/quantize_model.h"
#include "pipeline/rate_plan.h"

namespace twofold::cli {

/// Where the model is, its family and shape: lines of text.
std::string model_summary(const ModelFiles& files);
/// A row per matrix.
std::string matrix_table(const QuantizeReport& report);
/// One line per matrix of a rule with fractional bits.
std::string rate_table(const RatePlan& plan);
/// A row per tensor that no matrix has, and one for headers.
std::string others_table(const OtherBytes& others);
/// Every byte of the weight files by what it holds; of a report of inspect_model.
std::string kinds_table(const QuantizeReport& report);
/// Bits and bytes of the whole.
std::string report_summary(const QuantizeReport& report);
/// What is known of the run that wrote it: calibration, score, time, memory.
std::string run_summary(const QuantizeReport& report);
/// What a quantization will cost.
std::string forecast_text(const Forecast& forecast);
/// The keys of to_json(QuantizeReport).
std::vector<JsonKey> report_json_keys();
/// The same for inspect_model, which knows other tensors too.
std::vector<JsonKey> inspect_json_keys();
/// The keys of run_to_json(QuantizeReport).
std::vector<JsonKey> run_json_keys();

}  // namespace twofold::cli

#include "report_text.h"

#include <fmt/format.h>

#include "text_table.h"

namespace twofold::cli {

std::string model_summary(const ModelFiles& files) {
  const ModelConfig& config = files.config;
  return fmt::format(
      "model       {}\n"
      "family      {}, {} layers, hidden {}, {} heads ({} of keys and values), vocabulary {}, "
      "context {}\n",
      files.path.string(), config.family, config.layers, config.hidden, config.heads,
      config.kv_heads, config.vocab_size, config.context);
}

std::string matrix_table(const QuantizeReport& report) {
  const std::vector<Column> columns = {{"matrix"}, {"rows", true}, {"cols", true},  {"method"},
                                       {"format"}, {"bits", true}, {"bytes", true}, {"loss", true}};
  std::vector<std::vector<std::string>> rows;
  for (const MatrixReport& matrix : report.matrices) {
    rows.push_back({matrix.name, fmt::format("{}", matrix.rows), fmt::format("{}", matrix.cols),
                    matrix.method, matrix.format, fmt::format("{:.3f}", matrix.bits_per_weight),
                    fmt::format("{}", matrix.bytes),
                    matrix.proxy_loss ? fmt::format("{:.3e}", *matrix.proxy_loss) : "-"});
  }
  return text_table(columns, rows);
}

std::string rate_table(const RatePlan& plan) {
  const std::vector<Column> columns = {
      {"matrix"}, {"weights", true}, {"KL at fewer bits", true}, {"bits", true}};
  std::vector<std::vector<std::string>> rows;
  for (const RatedMatrix& matrix : plan.matrices) {
    rows.push_back({matrix.name, fmt::format("{}", matrix.weights),
                    fmt::format("{:.6f}", matrix.divergence), fmt::format("{}", matrix.bits)});
  }
  return text_table(columns, rows);
}

std::string others_table(const OtherBytes& others) {
  const std::vector<Column> columns = {
      {"other tensors"}, {"format"}, {"bytes", true}, {"counted with"}};
  std::vector<std::vector<std::string>> rows;
  for (const TensorReport& tensor : others.tensors) {
    rows.push_back(
        {tensor.name, tensor.format, fmt::format("{}", tensor.bytes), tensor.counted_with});
  }
  rows.push_back({"headers and padding", "", fmt::format("{}", others.headers), ""});
  return text_table(columns, rows);
}

std::string kinds_table(const QuantizeReport& report) {
  const ByteKinds kinds = kinds_of(report.matrices);
  std::vector<std::pair<std::string, int64_t>> counts;
  for (const ByteKind& kind : all_byte_kinds()) {
    if (kinds.*kind.bytes > 0) counts.emplace_back(kind.name, kinds.*kind.bytes);
  }
  int64_t others = 0;
  for (const TensorReport& tensor : report.others->tensors) {
    if (tensor.counted_with.empty()) others += tensor.bytes;
  }
  counts.emplace_back("other tensors", others);
  counts.emplace_back("headers and padding between tensors", report.others->headers);
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, bytes] : counts) {
    const double share = 100 * static_cast<double>(bytes) / static_cast<double>(report.bytes);
    rows.push_back({name, fmt::format("{}", bytes), fmt::format("{:.2f}", share)});
  }
  return text_table({{"what bytes hold"}, {"bytes", true}, {"%", true}}, rows);
}

std::string report_summary(const QuantizeReport& report) {
  return fmt::format(
      "bits        {:.4f} per weight of the quantized matrices, {:.4f} with everything\n"
      "size        {} ({} bytes), {} parameters\n",
      report.bits_per_weight, report.bits_per_weight_total, bytes_text(report.bytes), report.bytes,
      report.parameters);
}

std::string run_summary(const QuantizeReport& report) {
  std::string text;
  if (report.calibration) {
    const CalibrationReport& calibration = *report.calibration;
    text += fmt::format("calibration {} x {} tokens of {}, {}\n", calibration.samples,
                        calibration.context, calibration.source, calibration.sampling);
  }
  if (report.score) {
    text += fmt::format("loss        {:.4f} nats per token, source {:.4f}, on {} tokens of {}\n",
                        report.score->result_nats, report.score->source_nats, report.score->tokens,
                        report.score->text);
  }
  return text + fmt::format("time        {:.2f} s, peak memory {}\n", report.seconds,
                            bytes_text(report.peak_memory_bytes));
}

std::string forecast_text(const Forecast& forecast) {
  return fmt::format(
      "size        {} ({} bytes), {} on disk while it is written\n"
      "memory      {} at most, for {}\n"
      "time        {:.1f} s\n",
      bytes_text(forecast.bytes), forecast.bytes, bytes_text(forecast.disk_bytes),
      bytes_text(forecast.peak_memory_bytes), forecast.peak_phase, forecast.seconds);
}

std::vector<JsonKey> run_json_keys() {
  std::vector<JsonKey> keys = {
      {"seconds", "of the whole run, with those of an interrupted run it went on with"},
      {"phases", "an object: phase -> seconds"},
      {"peak_memory_bytes", "most memory the process used"},
      {"calibration",
       "texts, windows and what was found at each layer input, an object (docs/folder.md); null if "
       "nothing was calibrated"},
      {"score",
       "loss of source and result on the same tokens, an object (docs/folder.md); null if the "
       "result was not scored"},
      {"notes", "what a user should know of the run, a list of texts"}};
  for (JsonKey& key : report_json_keys()) keys.push_back(std::move(key));
  return keys;
}

std::vector<JsonKey> report_json_keys() {
  return {
      {"bytes", "of all weight files"},
      {"parameters", "numbers in the source model, tied matrices once"},
      {"bits_per_weight", "over the quantized matrices, with scales, tables and padding"},
      {"bits_per_weight_total", "8 x bytes / parameters"},
      {"matrices", "a list, one object per matrix"},
      {"matrices[].name", "tensor name"},
      {"matrices[].rows", "outputs"},
      {"matrices[].cols", "inputs"},
      {"matrices[].method", "method, or keep"},
      {"matrices[].format", "byte layout, or the stored type"},
      {"matrices[].bytes", "with scales, tables and padding"},
      {"matrices[].bits_per_weight", "8 x bytes of the matrix / (rows x cols)"},
      {"matrices[].proxy_loss",
       "tr(E H E^T) / tr(W H W^T); H = identity without calibration; null if not recorded"},
      {"matrices[].seconds", "of quantizing it; 0 if not recorded"},
      {"matrices[].explore_seconds", "of them, for trying more grids in the loop"},
      {"matrices[].parameters", "all parts and settings of the method, an object; null if kept"},
      {"matrices[].notes", "what the method had to say, a list of texts"}};
}

std::vector<JsonKey> inspect_json_keys() {
  std::vector<JsonKey> keys = report_json_keys();
  for (JsonKey key : std::initializer_list<JsonKey>{
           {"matrices[].bytes_by_kind",
            "an object: kind -> bytes, whose sum is bytes: numbers (not packed), codes, scales, "
            "zeros, offsets, tables, transforms (vectors; signs and factors are stored as seeds), "
            "padding"},
           {"bytes_by_kind", "the same of all matrices"},
           {"other_tensors", "what no matrix has, a list, one object per tensor"},
           {"other_tensors[].name", "tensor name"},
           {"other_tensors[].format", "the stored type"},
           {"other_tensors[].bytes", "that matrices do not take"},
           {"other_tensors[].counted_with",
            "the matrix whose bytes hold these too; null if none does, and then the sum of "
            "matrices[].bytes, of these and of header_bytes is bytes"},
           {"header_bytes", "headers of the weight files and padding between tensors"}}) {
    keys.push_back(std::move(key));
  }
  return keys;
}

}  // namespace twofold::cli

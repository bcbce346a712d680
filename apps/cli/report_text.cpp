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

std::string report_summary(const QuantizeReport& report) {
  return fmt::format(
      "bits        {:.4f} per weight of the quantized matrices, {:.4f} with everything\n"
      "size        {} ({} bytes), {} parameters\n",
      report.bits_per_weight, report.bits_per_weight_total, bytes_text(report.bytes), report.bytes,
      report.parameters);
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
      {"matrices[].parameters", "all parts and settings of the method, an object; null if kept"},
      {"matrices[].notes", "what the method had to say, a list of texts"}};
}

}  // namespace twofold::cli

#include <algorithm>
#include <set>

#include "base/json.h"
#include "pipeline/quantize_model.h"
#include "pipeline/report.h"

namespace twofold {
namespace {

/// Bytes of all files that hold a tensor of the model.
int64_t weight_file_bytes(const ModelFiles& files) {
  std::set<std::string> names;
  for (const StoredTensor& tensor : files.checkpoint->tensors()) names.insert(tensor.file);
  int64_t total = 0;
  for (const std::string& name : names) {
    std::error_code error;
    const uintmax_t size = std::filesystem::file_size(name, error);
    if (error) fail(ErrorCode::kIo, name, "cannot read its size: {}", error.message());
    total += static_cast<int64_t>(size);
  }
  return total;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return result;
}

/// @param counted vectors of transforms that rows hold already.
MatrixReport row_of(const Slot& slot, std::set<const StoredTensor*>& counted) {
  MatrixReport row;
  row.name = slot.name;
  row.rows = slot.shape[0];
  row.cols = slot.shape[1];
  row.quantized = !slot.format.empty();
  if (row.quantized) {
    row.format = slot.format;
    row.bytes = static_cast<int64_t>(slot.tensor->bytes.size());
    // A vector that several matrices share counts with the first.
    if (slot.input_scale != nullptr && counted.insert(slot.input_scale).second) {
      row.bytes += static_cast<int64_t>(slot.input_scale->bytes.size());
    }
    return row;
  }
  row.method = kKeepMethod;
  row.format = lower(slot.tensor->type->name);
  row.bytes = stored_bytes(*slot.tensor->type, slot.shape, slot.name);
  row.proxy_loss = 0;
  return row;
}

}  // namespace

QuantizeReport inspect_model(const ModelFiles& files) {
  QuantizeReport report;
  std::set<const StoredTensor*> counted;
  for (const Slot& slot : files.slots) {
    if (slot.shape.size() == 2) report.matrices.push_back(row_of(slot, counted));
  }
  if (files.is_quantized()) read_report(files.path / kReportFile, report);
  report.bytes = weight_file_bytes(files);
  report.parameters = files.parameters();
  complete_figures(report);
  return report;
}

}  // namespace twofold

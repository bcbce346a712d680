#include <algorithm>
#include <map>
#include <set>

#include "base/json.h"
#include "formats/format.h"
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

/// What rows hold of a tensor.
struct Claim {
  int64_t bytes = 0;
  std::string vector_of;  // the matrix that a transform's vector counts with
};
using Claims = std::map<const StoredTensor*, Claim>;

/// The bytes of a packed matrix by kind. @throws Error(kCorruptFile) if they are not as many as its
/// format takes.
ByteKinds packed_kinds(const Slot& slot, int64_t bytes) {
  ByteKinds kinds;
  try {
    kinds = byte_kinds(parse_format(slot.format), slot.shape[0], slot.shape[1]);
  } catch (const Error& e) {  // the name comes from a file
    fail(ErrorCode::kCorruptFile, slot.tensor->where(), e.what());
  }
  if (kinds.sum() != bytes) {
    fail(ErrorCode::kCorruptFile, slot.tensor->where(), "{} [{}, {}] has {} bytes, found {}",
         slot.format, slot.shape[0], slot.shape[1], kinds.sum(), bytes);
  }
  return kinds;
}

MatrixReport row_of(const Slot& slot, Claims& claims) {
  MatrixReport row;
  row.name = slot.name;
  row.rows = slot.shape[0];
  row.cols = slot.shape[1];
  row.quantized = !slot.format.empty();
  if (row.quantized) {
    row.format = slot.format;
    row.bytes = static_cast<int64_t>(slot.tensor->bytes.size());
    row.kinds = packed_kinds(slot, row.bytes);
    // A vector that several matrices share counts with the first.
    claims[slot.tensor].bytes += row.bytes;
    if (slot.input_scale != nullptr && claims[slot.input_scale].vector_of.empty()) {
      claims[slot.input_scale].vector_of = slot.name;
      row.kinds->transforms = static_cast<int64_t>(slot.input_scale->bytes.size());
      row.bytes += row.kinds->transforms;
    }
    return row;
  }
  row.method = kKeepMethod;
  row.format = lower(slot.tensor->type->name);
  row.bytes = stored_bytes(*slot.tensor->type, slot.shape, slot.name);
  row.kinds = ByteKinds{.numbers = row.bytes};
  row.proxy_loss = 0;
  claims[slot.tensor].bytes += row.bytes;
  return row;
}

OtherBytes others_of(const ModelFiles& files, int64_t file_bytes, const Claims& claims) {
  OtherBytes others{.tensors = {}, .headers = file_bytes};
  for (const StoredTensor& tensor : files.checkpoint->tensors()) {
    const auto found = claims.find(&tensor);
    const Claim claim = found == claims.end() ? Claim{} : found->second;
    const auto size = static_cast<int64_t>(tensor.bytes.size());
    others.headers -= size;
    if (size == claim.bytes) continue;
    others.tensors.push_back({.name = tensor.name,
                              .format = lower(tensor.type->name),
                              .bytes = size - claim.bytes,
                              .counted_with = claim.vector_of});
  }
  return others;
}

}  // namespace

QuantizeReport inspect_model(const ModelFiles& files) {
  QuantizeReport report;
  Claims claims;
  for (const Slot& slot : files.slots) {
    if (slot.shape.size() == 2) report.matrices.push_back(row_of(slot, claims));
  }
  if (files.is_quantized()) read_report(files.path / kReportFile, report);
  report.bytes = weight_file_bytes(files);
  report.others = others_of(files, report.bytes, claims);
  report.parameters = files.parameters();
  complete_figures(report);
  return report;
}

}  // namespace twofold

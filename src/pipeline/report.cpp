#include "pipeline/report.h"

#include <map>

#include "base/json.h"
#include "base/sha256.h"
#include "base/version.h"
#include "io/file.h"

namespace twofold {
namespace {

double bits_over(int64_t bytes, int64_t weights) {
  return weights == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
}

OrderedJson to_json(const MatrixReport& matrix) {
  OrderedJson json;
  json["name"] = matrix.name;
  json["rows"] = matrix.rows;
  json["cols"] = matrix.cols;
  json["method"] = matrix.method;
  json["format"] = matrix.format;
  json["bytes"] = matrix.bytes;
  json["bits_per_weight"] = matrix.bits_per_weight;
  json["proxy_loss"] = matrix.proxy_loss ? OrderedJson(*matrix.proxy_loss) : OrderedJson();
  json["seconds"] = matrix.seconds;
  json["parameters"] = OrderedJson(matrix.parameters);
  json["notes"] = matrix.notes;
  return json;
}

void read_matrix(const Json& json, MatrixReport& matrix) {
  matrix.method = json.at("method").get<std::string>();
  matrix.parameters = json.at("parameters");
  if (const Json& loss = json.at("proxy_loss"); !loss.is_null())
    matrix.proxy_loss = loss.get<double>();
  matrix.seconds = json.at("seconds").get<double>();
  matrix.notes = json.at("notes").get<std::vector<std::string>>();
}

}  // namespace

void complete_figures(QuantizeReport& report) {
  int64_t all_bytes = 0, all_weights = 0, bytes = 0, weights = 0;
  for (MatrixReport& matrix : report.matrices) {
    const int64_t count = matrix.rows * matrix.cols;
    matrix.bits_per_weight = bits_over(matrix.bytes, count);
    all_bytes += matrix.bytes;
    all_weights += count;
    if (!matrix.quantized) continue;
    bytes += matrix.bytes;
    weights += count;
  }
  report.bits_per_weight =
      weights > 0 ? bits_over(bytes, weights) : bits_over(all_bytes, all_weights);
  report.bits_per_weight_total = bits_over(report.bytes, report.parameters);
}

std::string source_fingerprint(const ModelFiles& source) {
  Sha256 hash;
  hash.update(source.config_json.dump(-1, ' ', true, Json::error_handler_t::replace));
  for (const StoredTensor& tensor : source.checkpoint->tensors()) {
    hash.update(fmt::format("\n{} {} {} {}", tensor.name, tensor.type->name,
                            shape_text(tensor.shape), tensor.bytes.size()));
  }
  return hash.hex();
}

OrderedJson to_json(const QuantizeReport& report) {
  OrderedJson json;
  json["bytes"] = report.bytes;
  json["parameters"] = report.parameters;
  json["bits_per_weight"] = report.bits_per_weight;
  json["bits_per_weight_total"] = report.bits_per_weight_total;
  json["matrices"] = OrderedJson::array();
  for (const MatrixReport& matrix : report.matrices) json["matrices"].push_back(to_json(matrix));
  return json;
}

OrderedJson report_json(const QuantizeReport& report, const ModelFiles& source,
                        const QuantizeOptions& options, const Context& ctx) {
  OrderedJson json;
  json["twofold_version"] = kVersion;
  json["command_line"] = options.command_line;
  json["source"] = {{"path", source.path.string()}, {"fingerprint", source_fingerprint(source)}};
  json["seed"] = options.seed;
  json["instruction_set"] = isa_name(ctx.isa);
  json["threads"] = ctx.pool.size();
  json["seconds"] = report.seconds;
  json.update(to_json(report));
  return json;
}

void read_report(const std::filesystem::path& path, QuantizeReport& report) {
  const Json json = parse_json(read_text_file(path), path.string());
  try {
    std::map<std::string, const Json*> by_name;
    for (const Json& row : json.at("matrices")) by_name[row.at("name").get<std::string>()] = &row;
    for (MatrixReport& matrix : report.matrices) {
      const auto row = by_name.find(matrix.name);
      if (row == by_name.end()) {
        fail(ErrorCode::kCorruptFile, path.string(), "expected matrix {}, found none", matrix.name);
      }
      read_matrix(*row->second, matrix);
    }
  } catch (const Json::exception& error) {
    fail(ErrorCode::kCorruptFile, path.string(), std::string_view(error.what()));
  }
}

}  // namespace twofold

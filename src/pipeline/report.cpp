#include "pipeline/report.h"

#include <algorithm>
#include <map>

#include "base/json.h"
#include "base/sha256.h"
#include "base/version.h"
#include "io/file.h"

namespace twofold {
namespace {

/// What a report says of a matrix beside its shape, format and bytes.
template <class AnyJson>
void read_matrix(const AnyJson& json, MatrixReport& matrix) {
  matrix.method = json.at("method").template get<std::string>();
  matrix.parameters = json.at("parameters");
  if (const AnyJson& loss = json.at("proxy_loss"); !loss.is_null())
    matrix.proxy_loss = loss.template get<double>();
  matrix.seconds = json.at("seconds").template get<double>();
  matrix.explore_seconds = json.value("explore_seconds", 0.0);
  matrix.notes = json.at("notes").template get<std::vector<std::string>>();
}

OrderedJson to_json(const CalibrationReport& calibration) {
  OrderedJson json;
  json["source"] = calibration.source;
  json["text_sha256"] = calibration.text_sha256;
  json["samples"] = calibration.samples;
  json["context"] = calibration.context;
  json["sampling"] = calibration.sampling;
  json["true_sequential"] = calibration.true_sequential;
  json["inputs"] = OrderedJson::array();
  for (const InputReport& input : calibration.inputs) json["inputs"].push_back(to_json(input));
  return json;
}

OrderedJson to_json(const SelfScore& score) {
  OrderedJson json;
  json["text"] = score.text;
  json["tokens"] = score.tokens;
  json["source_nats_per_token"] = score.source_nats;
  json["nats_per_token"] = score.result_nats;
  return json;
}

}  // namespace

std::string activations_name(Activations activations) {
  return std::string(
      std::ranges::find(all_activations(), activations, &ActivationsMode::activations)->name);
}

double bits_over(int64_t bytes, int64_t weights) {
  return weights == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
}

OrderedJson to_json(const ByteKinds& kinds) {
  OrderedJson json;
  for (const ByteKind& kind : all_byte_kinds()) json[std::string(kind.name)] = kinds.*kind.bytes;
  return json;
}

ByteKinds kinds_of(std::span<const MatrixReport> matrices) {
  ByteKinds sum;
  for (const MatrixReport& matrix : matrices) {
    if (matrix.kinds) sum.add(*matrix.kinds);
  }
  return sum;
}

OrderedJson to_json(const MatrixReport& matrix) {
  OrderedJson json;
  json["name"] = matrix.name;
  json["rows"] = matrix.rows;
  json["cols"] = matrix.cols;
  json["method"] = matrix.method;
  json["format"] = matrix.format;
  json["bytes"] = matrix.bytes;
  if (matrix.kinds) json["bytes_by_kind"] = to_json(*matrix.kinds);
  json["bits_per_weight"] = matrix.bits_per_weight;
  json["proxy_loss"] = matrix.proxy_loss ? OrderedJson(*matrix.proxy_loss) : OrderedJson();
  json["seconds"] = matrix.seconds;
  json["explore_seconds"] = matrix.explore_seconds;
  json["parameters"] = OrderedJson(matrix.parameters);
  json["notes"] = matrix.notes;
  return json;
}

MatrixReport matrix_from_json(const OrderedJson& json) {
  MatrixReport matrix;
  matrix.name = json.at("name").get<std::string>();
  matrix.rows = json.at("rows").get<int64_t>();
  matrix.cols = json.at("cols").get<int64_t>();
  matrix.format = json.at("format").get<std::string>();
  matrix.bytes = json.at("bytes").get<int64_t>();
  read_matrix(json, matrix);
  matrix.quantized = matrix.method != kKeepMethod;
  return matrix;
}

OrderedJson to_json(const InputReport& input) {
  return {{"name", input.name},
          {"tokens", input.tokens},
          {"dropped", input.dropped},
          {"dead", input.dead}};
}

InputReport input_from_json(const OrderedJson& json) {
  return {.name = json.at("name").get<std::string>(),
          .tokens = json.at("tokens").get<int64_t>(),
          .dropped = json.at("dropped").get<int64_t>(),
          .dead = json.at("dead").get<int64_t>()};
}

OrderedJson to_json(const std::vector<PhaseSeconds>& phases) {
  OrderedJson json = OrderedJson::object();
  for (const PhaseSeconds& phase : phases) json[phase.phase] = phase.seconds;
  return json;
}

std::vector<PhaseSeconds> phases_from_json(const OrderedJson& json) {
  std::vector<PhaseSeconds> phases;
  for (const auto& [phase, seconds] : json.items()) {
    phases.push_back({phase, seconds.get<double>()});
  }
  return phases;
}

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
  if (!report.others) return json;
  json["bytes_by_kind"] = to_json(kinds_of(report.matrices));
  json["other_tensors"] = OrderedJson::array();
  for (const TensorReport& tensor : report.others->tensors) {
    json["other_tensors"].push_back(
        {{"name", tensor.name},
         {"format", tensor.format},
         {"bytes", tensor.bytes},
         {"counted_with",
          tensor.counted_with.empty() ? OrderedJson() : OrderedJson(tensor.counted_with)}});
  }
  json["header_bytes"] = report.others->headers;
  return json;
}

OrderedJson run_to_json(const QuantizeReport& report) {
  OrderedJson json;
  json["seconds"] = report.seconds;
  json["phases"] = to_json(report.phases);
  json["peak_memory_bytes"] = report.peak_memory_bytes;
  json["calibration"] = report.calibration ? to_json(*report.calibration) : OrderedJson();
  json["score"] = report.score ? to_json(*report.score) : OrderedJson();
  json["notes"] = report.notes;
  json.update(to_json(report));
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
  json.update(run_to_json(report));
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

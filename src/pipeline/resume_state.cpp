#include "pipeline/resume_state.h"

#include <algorithm>

#include "base/json.h"
#include "base/sha256.h"
#include "base/version.h"
#include "io/file.h"
#include "pipeline/build_id.h"
#include "pipeline/report.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = 4096;
constexpr size_t kPieces = 16;  // of a tensor's data

/// Pieces of the data, evenly spread from its first to its last byte.
void hash_pieces(std::span<const std::byte> data, Sha256& hash) {
  const size_t piece = std::min(kPieceBytes, data.size());
  const size_t room = data.size() - piece;
  for (size_t i = 0; i < kPieces; ++i) {
    hash.update(data.subspan(room / (kPieces - 1) * i, piece));
  }
  release_pages(data);
}

void hash_ids(const std::vector<int32_t>& ids, Sha256& hash) {
  hash.update(fmt::format("\n{} ids: ", ids.size()));
  hash.update(std::as_bytes(std::span(ids)));
}

}  // namespace

std::string work_fingerprint(const ModelFiles& source, const Recipe& recipe,
                             const QuantizeOptions& options, const CalibrationSamples* samples,
                             const Context& ctx) {
  Sha256 hash;
  hash.update(fmt::format("{} {} {} seed {} sequential {}\n", kVersion, build_id(),
                          isa_name(ctx.isa), options.seed, options.true_sequential));
  hash.update(to_json(recipe).dump());
  hash.update(source_fingerprint(source));
  for (const StoredTensor& tensor : source.checkpoint->tensors()) hash_pieces(tensor.bytes, hash);
  if (samples != nullptr) {
    hash.update(options.calibration ? "\ngiven text" : "\nbuilt-in text");
    for (const std::vector<int32_t>& window : samples->windows) hash_ids(window, hash);
  }
  return hash.hex();
}

void write_resume_state(const fs::path& folder, const ResumeState& state) {
  OrderedJson json;
  json["fingerprint"] = state.fingerprint;
  json["blocks"] = state.blocks;
  json["tensors"] = state.tensors;
  json["data_sha256"] = state.data_sha256;
  json["layer"] = state.layer;
  json["hidden_sha256"] = state.hidden_sha256;
  json["steps"] = state.steps;
  json["seconds"] = state.seconds;
  json["stored"] = state.stored;
  json["input_scales"] = state.input_scales;
  json["matrices"] = OrderedJson::array();
  for (const MatrixReport& matrix : state.matrices) json["matrices"].push_back(to_json(matrix));
  json["inputs"] = OrderedJson::array();
  for (const InputReport& input : state.inputs) json["inputs"].push_back(to_json(input));
  json["phases"] = to_json(state.phases);
  write_text_file(folder / kResumeFile, dump_json(json));
}

std::optional<ResumeState> read_resume_state(const fs::path& folder) {
  const fs::path path = folder / kResumeFile;
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  // Not parse_json, which sorts keys: what is written at the end must be the same either way.
  const OrderedJson json = OrderedJson::parse(read_text_file(path), nullptr, false);
  try {
    ResumeState state;
    state.fingerprint = json.at("fingerprint").get<std::string>();
    state.blocks = json.at("blocks").get<int64_t>();
    state.tensors = json.at("tensors").get<int64_t>();
    state.data_sha256 = json.at("data_sha256").get<std::string>();
    state.layer = json.at("layer").get<int>();
    state.hidden_sha256 = json.at("hidden_sha256").get<std::string>();
    state.steps = json.at("steps").get<int64_t>();
    state.seconds = json.at("seconds").get<double>();
    state.stored = json.at("stored");
    state.input_scales = json.at("input_scales").get<std::map<std::string, std::vector<float>>>();
    for (const auto& row : json.at("matrices")) state.matrices.push_back(matrix_from_json(row));
    for (const auto& row : json.at("inputs")) state.inputs.push_back(input_from_json(row));
    state.phases = phases_from_json(json.at("phases"));
    return state;
  } catch (const OrderedJson::exception& what) {
    fail(ErrorCode::kCorruptFile, path.string(), std::string_view(what.what()));
  }
}

}  // namespace twofold

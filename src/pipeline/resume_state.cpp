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

OrderedJson to_json(const SavedStates& states) {
  return {{"layer", states.layer}, {"sha256", states.sha256}};
}

OrderedJson to_json(const FinishedMatrix& matrix) {
  OrderedJson json;
  json["sha256"] = matrix.sha256;
  json["row"] = to_json(matrix.row);
  json["stored"] = matrix.stored;
  if (!matrix.input_scale.empty()) json["input_scale"] = matrix.input_scale;
  if (matrix.input) json["input"] = to_json(*matrix.input);
  json["phases"] = to_json(matrix.phases);
  json["seconds"] = matrix.seconds;
  return json;
}

/// @throws nlohmann's exceptions.
FinishedMatrix finished_from_json(const OrderedJson& json) {
  FinishedMatrix matrix;
  matrix.sha256 = json.at("sha256").get<std::string>();
  matrix.row = matrix_from_json(json.at("row"));
  matrix.stored = json.at("stored");
  if (json.contains("input_scale")) {
    matrix.input_scale = json.at("input_scale").get<std::vector<float>>();
  }
  if (json.contains("input")) matrix.input = input_from_json(json.at("input"));
  matrix.phases = phases_from_json(json.at("phases"));
  matrix.seconds = json.at("seconds").get<double>();
  return matrix;
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

std::optional<ResumeState> read_resume_state(const fs::path& folder) {
  const fs::path path = folder / kResumeFile;
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  const std::string text = read_text_file(path);
  std::optional<ResumeState> state;
  int64_t line = 0;
  size_t end = 0;
  try {
    for (size_t begin = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
      ++line;
      // Not parse_json, which sorts keys: what is written at the end must be the same either way.
      const auto json = OrderedJson::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                                           text.begin() + static_cast<std::ptrdiff_t>(end));
      if (!state) {
        state.emplace().fingerprint = json.at("fingerprint").get<std::string>();
        if (json.contains("rates")) {
          state->rates =
              rate_plan_from_json(json.at("rates"), fmt::format("{}, line 1", path.string()));
        }
      } else if (json.contains("layer")) {
        state->states = {.layer = json.at("layer").get<int>(),
                         .sha256 = json.at("sha256").get<std::string>()};
        state->matrices_before_states = state->matrices.size();
      } else {
        state->matrices.push_back(finished_from_json(json));
      }
    }
  } catch (const OrderedJson::exception& what) {
    fail(ErrorCode::kCorruptFile, fmt::format("{}, line {}", path.string(), line),
         std::string_view(what.what()));
  }
  return state;
}

ResumeLog::ResumeLog(const fs::path& folder, const ResumeState& state)
    : matrices_(std::ssize(state.matrices)), file_([&] {
        OrderedJson head = {{"fingerprint", state.fingerprint}};
        if (!state.rates.fingerprint.empty()) head["rates"] = to_json(state.rates);
        std::string text = head.dump() + '\n';
        const auto add_states = [&](size_t before) {
          if (state.states.layer < 0 || before != state.matrices_before_states) return;
          text += to_json(state.states).dump() + '\n';
        };
        for (size_t i = 0; i < state.matrices.size(); ++i) {
          add_states(i);
          text += to_json(state.matrices[i]).dump() + '\n';
        }
        add_states(state.matrices.size());
        write_text_file(folder / kResumeFile, text);
        return FileWriter(folder / kResumeFile, text.size());
      }()) {}

void ResumeLog::add(const FinishedMatrix& matrix) {
  add_line(to_json(matrix));
  ++matrices_;
}

void ResumeLog::add(const SavedStates& states) { add_line(to_json(states)); }

void ResumeLog::add_line(const OrderedJson& json) {
  file_.write(json.dump() + '\n');
  file_.flush();
}

}  // namespace twofold

// Comparing: one model quantized in several ways, and peers (files of the same model that other
// tools quantized), all scored by the same code on the same tokens. A folder keeps every finished
// row, so that an interrupted comparison goes on where it was.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "eval/evaluate.h"
#include "pipeline/compare_rows.h"
#include "pipeline/quantize_model.h"

namespace twofold {

struct CompareRequest {
  std::vector<CompareRow> rows = {};
  std::vector<std::filesystem::path> peers = {};  // any readable model with the same vocabulary
  std::vector<int32_t> ids = {};                  // tokens of the text
  int64_t text_bytes = 0;
  std::string text_name = {};  // for the documents
  int32_t added_bos = -1;      // as ProtocolContext::bos_id
  EvalRequest score = {};
  Activations activations = Activations::kFloat;  // of what is scored; the reference has float
  QuantizeOptions quantize = {};  // of every row; `output` is the folder of the comparison
  bool resume = true;             // false: finished rows are made again
  bool keep_models = false;       // folders of quantized rows stay under models/
};

/// A finished row.
struct ComparedRow {
  std::string name, series;
  bool peer = false;
  int64_t bytes = 0;  // of all weight files; of a converted peer: of the file it came from
  /// Over the linear layers of the blocks; nothing if a converted peer does not say.
  std::optional<double> bits_per_weight = {};
  double bits_per_weight_total = 0;             // 8 bytes / parameters
  std::optional<double> quantize_seconds = {};  // nothing for peers
  /// Resident memory of this process while the row was quantized, mapped files included; nothing
  /// for peers, and where the system cannot measure it.
  std::optional<int64_t> peak_memory_bytes = {};
  std::optional<EvalResult> score = {};  // nothing if the row failed
  std::string error = {};                // why
  /// The row of least divergence among those that are no larger and diverge no more, and less in
  /// one of the two; empty if there is none.
  std::string beaten_by = {};
};

struct Comparison {
  std::string model, text_name;
  std::string activations = {};  // name of CompareRequest::activations
  int64_t parameters = 0;
  ComparedRow source;  // the model itself
  std::vector<ComparedRow> rows;
};

/// Quantizes, scores and writes compare.md, compare.csv, compare.json and compare.svg into
/// request.quantize.output. A row lies in rows/NAME.json as soon as it is finished, with a
/// fingerprint of build, model, tokenizer, texts, protocol, recipe and options: the same call goes
/// on after an interruption, and rows that fit are not made again. A row that cannot be carried out
/// is recorded with its error, the others go on; the next call tries it again.
/// @throws Error(kInvalidArgument) before anything is made, on a row or peer that does not fit the
/// model, two rows of one name, or a folder that is not a comparison; Error(kIo);
/// Error(kCancelled).
Comparison compare_models(const ModelFiles& source, const CompareRequest& request,
                          const Context& ctx);

/// Sets beaten_by of rows that have a score.
void mark_beaten(std::vector<ComparedRow>& rows);

/// The interface of `compare --json` and of compare.json (docs/cli.md).
nlohmann::ordered_json to_json(const Comparison& comparison);
nlohmann::ordered_json to_json(const ComparedRow& row);
/// @throws Error(kCorruptFile) naming `where`.
ComparedRow compared_row_from_json(const nlohmann::json& json, std::string_view where);

/// Tables and chart. @param command the command line, shown above the table.
std::string comparison_markdown(const Comparison& comparison, const std::string& command);
std::string comparison_csv(const Comparison& comparison);
/// Divergence against bytes; empty if no row has a score.
std::string comparison_svg(const Comparison& comparison);

}  // namespace twofold

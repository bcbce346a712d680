// twofold compare: one model quantized in several ways, and peers, scored on the same text.
#include <algorithm>
#include <charconv>

#include "calibration_flags.h"
#include "commands.h"
#include "eval/protocol.h"
#include "model_input.h"
#include "pipeline/compare.h"
#include "session.h"
#include "text_table.h"

namespace twofold::cli {

namespace {

struct CompareFlags {
  std::string model, output, bits, tokenizer, activations = "float";
  std::vector<std::string> methods, text, peers;
  RecipeFlags tables;
  CalibrationFlags calibration;
  CompareRequest request;
  bool no_resume = false;
};

/// "2,2.5,3"
std::vector<double> parse_bits(std::string_view text) {
  std::vector<double> bits;
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, text.find(','));
    double value = 0;
    const auto [end, error] = std::from_chars(piece.data(), piece.data() + piece.size(), value);
    const bool number = error == std::errc() && end == piece.data() + piece.size();
    if (!number || !(value >= 1 && value <= kMostBits) ||
        std::ranges::find(bits, value) != bits.end()) {
      fail(ErrorCode::kInvalidArgument, "--bits",
           "expected different numbers from 1 to 16 and commas between them, found '{}'", piece);
    }
    bits.push_back(value);
    text.remove_prefix(std::min(piece.size() + 1, text.size()));
  }
  return bits;
}

void read_text(const CompareFlags& flags, const ModelFiles& source, CompareRequest& request) {
  std::unique_ptr<Tokenizer> tokenizer = flags.tokenizer.empty()
                                             ? load_tokenizer(source)
                                             : open_tokenizer(flags.tokenizer, source.config);
  if (tokenizer == nullptr) {
    fail(ErrorCode::kIo, source.path.string(),
         "expected a tokenizer beside the model, found none; give --tokenizer");
  }
  std::string text;
  for (const std::string& file : flags.text) {
    text += read_input(file);
    request.text_name += (request.text_name.empty() ? "" : " ") + file;
  }
  request.ids = tokenizer->encode(text);
  request.text_bytes = std::ssize(text);
  if (tokenizer->adds_bos()) request.added_bos = tokenizer->bos_id();
}

std::string optional_text(const std::optional<double>& value, int decimals) {
  return value ? fmt::format("{:.{}f}", *value, decimals) : "";
}

std::vector<std::string> cells_of(const ComparedRow& row) {
  std::vector<std::string> cells = {row.name, fmt::format("{}", row.bytes),
                                    optional_text(row.bits_per_weight, 3),
                                    fmt::format("{:.3f}", row.bits_per_weight_total)};
  const auto& score = row.score;
  cells.push_back(score ? fmt::format("{:.4f}", score->nats_per_token) : "");
  cells.push_back(score ? fmt::format("{:.3f}", score->perplexity) : "");
  const bool diverges = score && score->divergence;
  cells.push_back(diverges ? fmt::format("{:.5f}", score->divergence->kl_mean) : "");
  cells.push_back(diverges ? fmt::format("{:.1f} %", 100 * score->divergence->top1_agreement) : "");
  cells.push_back(optional_text(row.quantize_seconds, 1));
  cells.push_back(row.peak_memory_bytes ? bytes_text(*row.peak_memory_bytes) : "");
  cells.push_back(!row.error.empty()      ? "failed"
                  : row.beaten_by.empty() ? ""
                                          : "beaten by " + row.beaten_by);
  return cells;
}

std::string result_text(const Comparison& comparison) {
  const std::vector<Column> columns = {{"row"},
                                       {"bytes", true},
                                       {"bits", true},
                                       {"total", true},
                                       {"nats", true},
                                       {"perplexity", true},
                                       {"KL", true},
                                       {"same top 1", true},
                                       {"quantize s", true},
                                       {"peak", true},
                                       {""}};
  std::vector<std::vector<std::string>> cells = {cells_of(comparison.source)};
  for (const ComparedRow& row : comparison.rows) cells.push_back(cells_of(row));
  return text_table(columns, cells);
}

void run_compare(const CompareFlags& flags, Session& session) {
  CompareRequest request = flags.request;
  request.rows = parse_compare_rows(flags.methods, parse_bits(flags.bits), flags.tables);
  request.peers.assign(flags.peers.begin(), flags.peers.end());
  request.resume = !flags.no_resume;
  request.activations = find_activations(flags.activations).activations;
  request.quantize.output = flags.output;
  request.quantize.command_line = session.command_line();
  apply(flags.calibration, request.quantize);
  const ModelFiles source = open_model(flags.model);
  read_text(flags, source, request);
  const Comparison comparison = compare_models(source, request, session.ctx());
  if (session.json()) {
    session.print_json(to_json(comparison));
  } else {
    session.print(result_text(comparison));
    session.print(fmt::format("wrote {0}/compare.md, .csv, .json and .svg\n", flags.output));
  }
  const auto failed = std::ranges::find_if(
      comparison.rows, [](const ComparedRow& row) { return !row.error.empty(); });
  if (failed != comparison.rows.end()) {
    fail(ErrorCode::kUnsupported, fmt::format("row {}", failed->name),
         std::string_view(failed->error));
  }
}

std::vector<Choice> text_protocols() {
  std::vector<Choice> choices;
  for (const Protocol& protocol : all_protocols()) {
    if (protocol.needs_text) {
      choices.push_back({std::string(protocol.name), std::string(protocol.help)});
    }
  }
  return choices;
}

std::vector<JsonKey> compare_json_keys() {
  return {{"model", "as given"},
          {"text", "files, in order"},
          {"activations", "int8 or float"},
          {"parameters", "of the model, tied ones once"},
          {"source", "the model itself, as a row"},
          {"rows", "a list, one object per peer and per quantization"},
          {"rows[].name", "METHOD:BITS[:SETTINGS], or the name of a peer"},
          {"rows[].series", "its curve in the chart: the name without the bits"},
          {"rows[].peer", "true for --peer"},
          {"rows[].bytes",
           "of all weight files; of a converted peer, those of the file it was made from"},
          {"rows[].bits_per_weight",
           "of the blocks' linear layers with everything they need; null if not known"},
          {"rows[].bits_per_weight_total", "8 x bytes / parameters"},
          {"rows[].quantize_seconds", "null for peers"},
          {"rows[].peak_memory_bytes",
           "largest resident memory of the process while it quantized this row, mapped files "
           "included, counted anew for each row (VmHWM after writing 5 to /proc/self/clear_refs); "
           "null for peers and where the system has no such count"},
          {"rows[].beaten_by",
           "the row of least divergence that is no larger and diverges no more, and less in one of "
           "the two; or null"},
          {"rows[].error", "why the row has no score, or null"},
          {"rows[].score", "the figures of eval --json, divergence from the model included"}};
}

std::vector<Flag> compare_flags(CompareFlags& flags) {
  EvalRequest& score = flags.request.score;
  score.protocol = text_protocols().front().name;
  return {
      model_flag(flags.model),
      {.names = "--methods",
       .value = "ROWS...",
       .target = &flags.methods,
       .help = "METHOD[:BITS][:KEY=VALUE,...] with commas between rows; KEY is group, grid, "
               "transform, rounding or a setting of quantize: "
               "rtn,gptq:3:group=64,order=diagonal"},
      {.names = "--bits",
       .value = "B,B,...",
       .target = &flags.bits,
       .help = "of rows that name none",
       .fallback = "the method's"},
      {.names = "--peer",
       .value = "FILE...",
       .target = &flags.peers,
       .help = "GGUF files or folders of the same model, scored as they are"},
      {.names = "--text",
       .value = "FILE...",
       .target = &flags.text,
       .help = "text files to score, joined in the order given",
       .required = true},
      {.names = "-o,--output",
       .value = "DIR",
       .target = &flags.output,
       .help = "folder for tables, chart and finished rows; the same command goes on with it",
       .required = true},
      {.names = "--protocol",
       .value = "PROTOCOL",
       .target = &score.protocol,
       .help = "how the text is cut and which targets are scored",
       .choices = text_protocols()},
      {.names = "--window",
       .value = "N",
       .target = &score.window,
       .help = "length of a window; becomes part of the protocol's name",
       .min = 0,
       .fallback = "the protocol's"},
      {.names = "--windows",
       .value = "K",
       .target = &score.max_windows,
       .help = "scores only the first K windows; 0 = all",
       .min = 0},
      {.names = "--head",
       .value = "keep|METHOD:BITS",
       .target = &flags.tables.head,
       .help = "the output head of every row"},
      {.names = "--embeddings",
       .value = "keep|METHOD:BITS",
       .target = &flags.tables.embeddings,
       .help = "token and position tables of every row"},
      activations_flag(flags.activations),
      tokenizer_flag(flags.tokenizer),
      seed_flag(flags.request.quantize.seed,
                "of everything random in a method, and of the calibration windows"),
      {.names = "--no-resume", .target = &flags.no_resume, .help = "makes finished rows again"},
      {.names = "--keep-models",
       .target = &flags.request.keep_models,
       .help = "leaves the quantized folders under DIR/models"},
  };
}

}  // namespace

Command compare_command() {
  const auto flags = std::make_shared<CompareFlags>();
  Command command{
      .name = "compare",
      .summary =
          "Quantizes a model in several ways and scores all of them, and peers, on one text.",
      .details =
          "Each row is quantized into the output folder, read back and scored: loss, KL divergence "
          "from the model, bytes, bits, seconds, memory. Finished rows are kept: after an "
          "interruption the same command goes on. Writes compare.md, .csv, .json and .svg. A peer "
          "with a FILE.peer.json beside it (bench/peers/to_f16.py) counts the bytes named there.",
      .common = std::make_shared<CommonFlags>(),
      .json_keys = compare_json_keys(),
      .run = [flags](Session& session) { run_compare(*flags, session); }};
  command.flags = compare_flags(*flags);
  for (Flag& flag : calibration_flags(flags->calibration)) command.flags.push_back(std::move(flag));
  command.flags.push_back(json_flag(*command.common));
  return command;
}

}  // namespace twofold::cli

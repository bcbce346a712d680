#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "pipeline/compare.h"
#include "pipeline/svg_chart.h"

namespace twofold {
namespace {

/// Divergences below this are drawn here: a logarithmic axis has no zero.
constexpr double kLeastDrawn = 1e-6;

template <class T>
OrderedJson or_null(const std::optional<T>& value) {
  return value ? OrderedJson(*value) : OrderedJson();
}

template <class T>
std::optional<T> optional_at(const Json& json, const char* key) {
  const Json& value = json.at(key);
  return value.is_null() ? std::nullopt : std::optional<T>(value.get<T>());
}

EvalResult read_score(const Json& json) {
  EvalResult score;
  score.protocol = json.at("protocol").get<std::string>();
  score.windows = json.at("windows").get<int64_t>();
  score.tokens = json.at("tokens").get<int64_t>();
  score.token_sha256 = json.at("token_sha256").get<std::string>();
  score.nats_per_token = json.at("nats_per_token").get<double>();
  score.nats_last_position = json.at("nats_last_position").get<double>();
  score.perplexity = json.at("perplexity").get<double>();
  score.perplexity_stderr = json.at("perplexity_stderr").get<double>();
  score.bits_per_byte = optional_at<double>(json, "bits_per_byte");
  score.seconds = json.at("seconds").get<double>();
  if (json.contains("kl_mean")) {
    score.divergence = Divergence{.kl_mean = json.at("kl_mean").get<double>(),
                                  .kl_median = json.at("kl_median").get<double>(),
                                  .kl_p99 = json.at("kl_p99").get<double>(),
                                  .top1_agreement = json.at("top1_agreement").get<double>()};
  }
  return score;
}

/// A row as text, for Markdown and CSV alike.
struct Cells {
  std::string bits, bits_total, nats, perplexity, kl, top1, quantize, peak;
};

Cells cells_of(const ComparedRow& row) {
  Cells cells;
  if (row.bits_per_weight) cells.bits = fmt::format("{:.3f}", *row.bits_per_weight);
  cells.bits_total = fmt::format("{:.3f}", row.bits_per_weight_total);
  if (row.score) {
    cells.nats = fmt::format("{:.4f}", row.score->nats_per_token);
    cells.perplexity = fmt::format("{:.3f}", row.score->perplexity);
    if (const auto& divergence = row.score->divergence) {
      cells.kl = fmt::format("{:.5f}", divergence->kl_mean);
      cells.top1 = fmt::format("{:.2f}", 100 * divergence->top1_agreement);
    }
  }
  if (row.quantize_seconds) cells.quantize = fmt::format("{:.1f}", *row.quantize_seconds);
  if (row.peak_memory_bytes) {
    cells.peak = fmt::format("{:.1f}", static_cast<double>(*row.peak_memory_bytes) / 1e6);
  }
  return cells;
}

/// A field of a CSV file (RFC 4180).
std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

std::string markdown_cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string markdown_row(const ComparedRow& row) {
  const Cells cells = cells_of(row);
  std::string verdict = row.beaten_by.empty() ? "" : "beaten by " + row.beaten_by;
  if (!row.error.empty()) verdict = "failed: " + row.error;
  return fmt::format("| {}{} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
                     markdown_cell(row.name), row.peer ? " (peer)" : "", row.bytes, cells.bits,
                     cells.bits_total, cells.nats, cells.perplexity, cells.kl, cells.top1,
                     cells.quantize, cells.peak, markdown_cell(verdict));
}

std::string csv_row(const ComparedRow& row) {
  const OrderedJson json = to_json(row);
  std::string line;
  for (const auto& [key, value] : json.items()) {
    if (key == "score") continue;
    line += line.empty() ? "" : ",";
    if (value.is_string()) line += csv_field(value.get<std::string>());
    if (!value.is_string() && !value.is_null()) line += value.dump();
  }
  for (const char* key : {"nats_per_token", "perplexity", "perplexity_stderr", "kl_mean",
                          "kl_median", "kl_p99", "top1_agreement", "seconds"}) {
    line += ',';
    if (row.score && json.at("score").contains(key)) line += json.at("score").at(key).dump();
  }
  return line + "\n";
}

}  // namespace

OrderedJson to_json(const ComparedRow& row) {
  OrderedJson json;
  json["name"] = row.name;
  json["series"] = row.series;
  json["peer"] = row.peer;
  json["bytes"] = row.bytes;
  json["bits_per_weight"] = or_null(row.bits_per_weight);
  json["bits_per_weight_total"] = row.bits_per_weight_total;
  json["quantize_seconds"] = or_null(row.quantize_seconds);
  json["peak_memory_bytes"] = or_null(row.peak_memory_bytes);
  json["beaten_by"] = row.beaten_by.empty() ? OrderedJson() : OrderedJson(row.beaten_by);
  json["error"] = row.error.empty() ? OrderedJson() : OrderedJson(row.error);
  json["score"] = row.score ? to_json(*row.score) : OrderedJson();
  return json;
}

ComparedRow compared_row_from_json(const Json& json, std::string_view where) {
  try {
    ComparedRow row;
    row.name = json.at("name").get<std::string>();
    row.series = json.at("series").get<std::string>();
    row.peer = json.at("peer").get<bool>();
    row.bytes = json.at("bytes").get<int64_t>();
    row.bits_per_weight = optional_at<double>(json, "bits_per_weight");
    row.bits_per_weight_total = json.at("bits_per_weight_total").get<double>();
    row.quantize_seconds = optional_at<double>(json, "quantize_seconds");
    row.peak_memory_bytes = optional_at<int64_t>(json, "peak_memory_bytes");
    row.beaten_by = optional_at<std::string>(json, "beaten_by").value_or("");
    row.error = optional_at<std::string>(json, "error").value_or("");
    if (!json.at("score").is_null()) row.score = read_score(json.at("score"));
    return row;
  } catch (const Json::exception& error) {
    fail(ErrorCode::kCorruptFile, where, std::string_view(error.what()));
  }
}

OrderedJson to_json(const Comparison& comparison) {
  OrderedJson json;
  json["model"] = comparison.model;
  json["text"] = comparison.text_name;
  json["activations"] = comparison.activations;
  json["parameters"] = comparison.parameters;
  json["source"] = to_json(comparison.source);
  json["rows"] = OrderedJson::array();
  for (const ComparedRow& row : comparison.rows) json["rows"].push_back(to_json(row));
  return json;
}

std::string comparison_markdown(const Comparison& comparison, const std::string& command) {
  const EvalResult& source = *comparison.source.score;
  std::string text = fmt::format("# {}\n\n    {}\n\n", comparison.model, command);
  text += fmt::format(
      "Text: {}. Protocol `{}`, {} windows, {} targets, {} activations. KL is KL(source || row) in "
      "nats, mean over "
      "targets; top 1 is\nthe share of targets where both find the same token most likely. Bits "
      "per "
      "weight: of the blocks' linear layers with\neverything they need, and 8 x bytes of all "
      "weight "
      "files / parameters. Peak memory: resident, while quantizing.\nA row is beaten if another is "
      "no larger and diverges no more, and less in one of the two.\n\n",
      comparison.text_name, source.protocol, source.windows, source.tokens, comparison.activations);
  text +=
      "| row | bytes | bits: blocks | bits: total | nats | perplexity | KL | top 1, % | quantize, "
      "s "
      "| peak, MB | |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
  text += markdown_row(comparison.source);
  for (const ComparedRow& row : comparison.rows) text += markdown_row(row);
  const bool drawn = std::ranges::any_of(
      comparison.rows, [](const ComparedRow& row) { return row.score.has_value(); });
  if (drawn) text += "\n![KL divergence against bytes](compare.svg)\n";
  return text;
}

std::string comparison_csv(const Comparison& comparison) {
  std::string text =
      "name,series,peer,bytes,bits_per_weight,bits_per_weight_total,quantize_seconds,"
      "peak_memory_bytes,beaten_by,error,nats_per_token,perplexity,perplexity_stderr,kl_mean,"
      "kl_median,kl_p99,top1_agreement,score_seconds\n";
  text += csv_row(comparison.source);
  for (const ComparedRow& row : comparison.rows) text += csv_row(row);
  return text;
}

std::string comparison_svg(const Comparison& comparison) {
  std::filesystem::path model = comparison.model;
  if (!model.has_filename()) model = model.parent_path();  // "folder/"
  Chart chart{.title = fmt::format("{}: divergence against size", model.filename().string()),
              .x_title = "megabytes of all weights, everything counted (labels: bits)",
              .y_title = "mean KL(source || row), nats",
              .series = {},
              .reference = {},
              .log_y = true};
  for (const ComparedRow& row : comparison.rows) {
    if (!row.score) continue;
    auto series = std::ranges::find(chart.series, row.series, &ChartSeries::name);
    if (series == chart.series.end()) {
      series = chart.series.insert(series, {.name = row.series, .joined = !row.peer});
    }
    // "3" of gptq:3:group=64, and the whole name of a peer
    std::string label = row.name;
    if (!row.peer) {
      const size_t begin = row.name.find(':') + 1;
      label = row.name.substr(begin, row.name.find(':', begin) - begin);
    }
    series->points.push_back({static_cast<double>(row.bytes) / 1e6,
                              std::max(row.score->divergence->kl_mean, kLeastDrawn),
                              std::move(label)});
  }
  return chart.series.empty() ? "" : svg_chart(chart);
}

}  // namespace twofold

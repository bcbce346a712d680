// twofold demo: flags and output of the demonstration.
#include "base/clock.h"
#include "commands.h"
#include "demo.h"
#include "io/file.h"
#include "output_file.h"
#include "session.h"
#include "text_table.h"

namespace twofold::cli {

namespace {

struct DemoFlags {
  std::string model, svg = "twofold-demo.svg";
  uint64_t seed = 1;
};

double difference(const DemoRow& row, const DemoRow& reference) {
  return row.score.nats_per_token - reference.score.nats_per_token;
}

std::string table_text(std::span<const DemoRow> rows) {
  const std::vector<Column> columns = {{"variant"},          {"bits", true},    {"bytes", true},
                                       {"loss", true},       {"+loss", true},   {"KL", true},
                                       {"same top 1", true}, {"tokens/s", true}};
  std::vector<std::vector<std::string>> cells;
  for (const DemoRow& row : rows) {
    const Divergence divergence = row.score.divergence.value_or(Divergence{});
    cells.push_back({std::string(row.variant->name),
                     fmt::format("{:.2f}", row.bits_per_weight_total), fmt::format("{}", row.bytes),
                     fmt::format("{:.4f}", row.score.nats_per_token),
                     fmt::format("{:+.4f}", difference(row, rows.front())),
                     fmt::format("{:.4f}", divergence.kl_mean),
                     fmt::format("{:.1f} %", 100 * divergence.top1_agreement),
                     fmt::format("{:.0f}", row.tokens_per_second)});
  }
  return text_table(columns, cells);
}

std::string result_text(std::span<const DemoRow> rows, const DemoFlags& flags, double seconds) {
  const EvalResult& score = rows.front().score;
  std::string text = fmt::format(
      "{} on tiny Shakespeare, characters {} to {} ({}, {} windows)\n\n{}\n", flags.model,
      kDemoTextBegin, kDemoTextEnd, score.protocol, score.windows, table_text(rows));
  text += fmt::format(
      "bits: 8 x bytes of the weight file / parameters, everything counted. loss: nats per "
      "character;\nKL and same top 1: against float32. int8, PoT and rtn: head and tables have 8 "
      "bits; PoT as published:\nintegers [-16, 15], exponent up, one scale per tensor, head too, "
      "tables float.\nGPTQ, GPTQT, QuIP and trellis: calibrated on the first {} windows of {} "
      "characters.\n",
      kDemoCalibrationWindows, kDemoCalibrationContext);
  for (const DemoRow& row : rows) {
    if (!row.sample.empty()) {
      text += fmt::format("\n--- {} writes (seed {}):\n{}\n", row.variant->name, flags.seed,
                          row.sample);
    }
  }
  return text + fmt::format("\ntime:  {:.1f} s\n", seconds);
}

OrderedJson result_json(std::span<const DemoRow> rows, const DemoFlags& flags, double seconds) {
  const EvalResult& score = rows.front().score;
  OrderedJson json;
  json["model"] = flags.model;
  json["protocol"] = score.protocol;
  json["windows"] = score.windows;
  json["tokens"] = score.tokens;
  json["token_sha256"] = score.token_sha256;
  json["seed"] = flags.seed;
  json["rows"] = OrderedJson::array();
  for (const DemoRow& row : rows) {
    const Divergence divergence = row.score.divergence.value_or(Divergence{});
    OrderedJson& out = json["rows"].emplace_back();
    out["variant"] = row.variant->name;
    out["bits_per_weight"] = row.bits_per_weight;
    out["bits_per_weight_total"] = row.bits_per_weight_total;
    out["bytes"] = row.bytes;
    out["nats_per_token"] = row.score.nats_per_token;
    out["difference"] = difference(row, rows.front());
    out["kl_mean"] = divergence.kl_mean;
    out["top1_agreement"] = divergence.top1_agreement;
    out["tokens_per_second"] = row.tokens_per_second;
    out["sample"] = nullptr;
    if (!row.sample.empty()) out["sample"] = row.sample;
  }
  json["chart"] = flags.svg;
  json["seconds"] = seconds;
  return json;
}

void run(const DemoFlags& given, Session& session) {
  const Clock::time_point start = Clock::now();
  DemoFlags flags = given;
  if (flags.model.empty()) flags.model = default_demo_model().string();
  check_output_file(flags.svg);
  const std::vector<DemoRow> rows =
      run_demo({.model = flags.model, .seed = flags.seed}, session.ctx());
  const double taken = seconds_since(start);
  if (session.json()) {
    session.print_json(result_json(rows, flags, taken));
  } else {
    session.print(result_text(rows, flags, taken));
  }
  write_text_file(flags.svg, demo_chart(rows));
  if (!session.json()) session.print(fmt::format("chart: {}\n", flags.svg));
}

std::vector<JsonKey> demo_json_keys() {
  return {{"model", "folder of the model"},
          {"protocol", "of the scores"},
          {"windows", "windows scored"},
          {"tokens", "targets scored"},
          {"token_sha256", "as in eval"},
          {"seed", "of the samples"},
          {"rows", "a list, one object per variant, float32 first"},
          {"rows[].variant", "its name"},
          {"rows[].bits_per_weight", "over the quantized matrices"},
          {"rows[].bits_per_weight_total", "8 x bytes / parameters"},
          {"rows[].bytes", "of the weight file"},
          {"rows[].nats_per_token", "loss"},
          {"rows[].difference", "loss above float32"},
          {"rows[].kl_mean", "mean KL(float32 || variant), nats"},
          {"rows[].top1_agreement", "0 to 1"},
          {"rows[].tokens_per_second", "generation"},
          {"rows[].sample", "text, or null"},
          {"chart", "the SVG file"},
          {"seconds", "of the whole"}};
}

}  // namespace

Command demo_command() {
  const auto flags = std::make_shared<DemoFlags>();
  Command command{
      .name = "demo",
      .summary = "Quantizes, scores and runs the small model that comes with the program.",
      .details =
          "Each row of the table is quantized (the later ones calibrate on the text's training "
          "part), written to a temporary folder, read back, "
          "scored on the validation part of tiny Shakespeare and timed. Writes a chart.",
      .common = std::make_shared<CommonFlags>(),
      .json_keys = demo_json_keys(),
      .run = [flags](Session& session) { run(*flags, session); }};
  command.flags = {{.names = "--model",
                    .value = "DIR",
                    .target = &flags->model,
                    .help = "folder with a character model, its tokenizer and input.txt",
                    .fallback = "models/shakespeare-char of the program"},
                   {.names = "--svg",
                    .value = "FILE",
                    .target = &flags->svg,
                    .help = "where the chart of loss against bits goes"},
                   seed_flag(flags->seed, "of the samples of text"),
                   json_flag(*command.common)};
  return command;
}

}  // namespace twofold::cli

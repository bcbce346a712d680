// twofold bench: speed of prompts and generation, and models to measure it with.
#include <algorithm>

#include "base/version.h"
#include "commands.h"
#include "model_input.h"
#include "pipeline/bench.h"
#include "pipeline/synthetic.h"
#include "session.h"
#include "temporary_folder.h"

namespace twofold::cli {

namespace {

struct BenchFlags {
  std::string model, synthetic, keep, activations = "int8";
  bool csv = false;
  SyntheticOptions shape;
  BenchRequest request;
};

bool measures(const BenchRequest& request) {
  const auto some = [](const std::vector<int64_t>& lengths) {
    return lengths.empty() || std::ranges::any_of(lengths, [](int64_t one) { return one > 0; });
  };
  return some(request.prompts) || some(request.generated);
}

/// @throws Error(kInvalidArgument) on flags that do not go together.
void check_flags(const BenchFlags& flags, const Session& session) {
  if (flags.model.empty() == flags.synthetic.empty()) {
    fail(ErrorCode::kInvalidArgument, "bench", "expected one of MODEL and --synthetic");
  }
  if (flags.keep.empty() && !measures(flags.request)) {
    fail(ErrorCode::kInvalidArgument, "bench", "expected a --prompt or --generate above 0");
  }
  const SyntheticOptions plain;
  const bool shaped = !flags.keep.empty() || flags.shape.force ||
                      flags.shape.format != plain.format ||
                      flags.shape.head_format != plain.head_format;
  if (flags.synthetic.empty() && shaped) {
    fail(ErrorCode::kInvalidArgument, "bench",
         "--format, --head-format, --keep and --force go with --synthetic only");
  }
  if (flags.csv && session.json()) {
    fail(ErrorCode::kInvalidArgument, "bench", "expected one of --csv and --json");
  }
}

/// The model to measure. A temporary one is removed at once: its bytes stay as long as they are
/// mapped, and nothing is left behind however this ends.
std::shared_ptr<const Model> model_of(const BenchFlags& flags, Session& session) {
  if (flags.synthetic.empty()) return load_model(flags.model, session);
  std::optional<TemporaryFolder> temporary;
  SyntheticOptions options = flags.shape;
  options.output = flags.keep;
  if (flags.keep.empty()) options.output = temporary.emplace("bench").path() / flags.synthetic;
  write_synthetic_model(find_synthetic_shape(flags.synthetic), options, session.ctx());
  return load_model(options.output.string(), session);
}

OrderedJson result_json(std::span<const BenchRow> rows, const Session& session) {
  OrderedJson json;
  json["twofold_version"] = kVersion;
  json["command_line"] = session.command_line();
  json["cpu"] = cpu_name();
  json["rows"] = OrderedJson::array();
  for (const BenchRow& row : rows) json["rows"].push_back(to_json(row));
  return json;
}

void run(const BenchFlags& flags, Session& session) {
  check_flags(flags, session);
  session.use_activations(flags.activations);
  const std::shared_ptr<const Model> model = model_of(flags, session);
  if (!flags.keep.empty() && !measures(flags.request)) return;  // only the model was wanted
  const std::string name = flags.synthetic.empty() ? flags.model : "synthetic-" + flags.synthetic;
  const auto note = [&](const BenchRow& row) {
    session.ctx().note(fmt::format("{}, threads {}: {:.2f} ± {:.2f} tokens/s, {:.2f} GB/s",
                                   row.test(), row.threads, row.tokens_per_second,
                                   row.tokens_per_second_stddev, row.bytes_per_second / 1e9));
  };
  const std::vector<BenchRow> rows = run_bench(*model, name, flags.request, session.ctx(), note);
  if (session.json()) return session.print_json(result_json(rows, session));
  session.print(flags.csv ? bench_csv(rows) : bench_markdown(rows));
}

std::vector<JsonKey> bench_json_keys() {
  return {
      {"twofold_version", ""},
      {"command_line", "as typed"},
      {"cpu", "its name"},
      {"rows", "a list, one object per test"},
      {"rows[].model", "as given, or synthetic-SHAPE"},
      {"rows[].format", "that holds most bytes of the block linears"},
      {"rows[].bytes", "of all tensors"},
      {"rows[].parameters", "a tied head counted once"},
      {"rows[].isa", "highest instruction set in use"},
      {"rows[].activations", "int8 or float"},
      {"rows[].threads", "of the pool"},
      {"rows[].test", "pp512: a prompt; tg128: generation; @ d1024: after so many tokens"},
      {"rows[].prompt", "tokens of the prompt, 0 in rows of generation"},
      {"rows[].generated", "tokens generated, 0 in rows of prompts"},
      {"rows[].depth", "tokens in the cache before"},
      {"rows[].repetitions", "measured, after a warm-up"},
      {"rows[].tokens_per_second", "mean"},
      {"rows[].tokens_per_second_stddev", "standard deviation of the repetitions"},
      {"rows[].bytes_per_token",
       "of block linears and head; of experts the share that a token has"},
      {"rows[].bytes_per_second",
       "of matrices read: all of them per generated token, once per 512 tokens of a prompt"},
      {"rows[].read_bytes_per_second",
       "of the machine with these threads: median of passes over a large buffer before and after "
       "the row"},
      {"rows[].bandwidth_share", "bytes_per_second / read_bytes_per_second"},
      {"rows[].operations_per_second",
       "multiplications and additions of the matrices; attention is not counted"},
      {"rows[].integer_peak",
       "operations per second of the best integer instruction of the instruction set in use, on "
       "registers"},
      {"rows[].peak_share", "operations_per_second / integer_peak"},
      {"rows[].peak_memory_bytes",
       "of the process during the row, mapped files included; 0 if the system does not say"}};
}

}  // namespace

Command bench_command() {
  const auto flags = std::make_shared<BenchFlags>();
  Command command{
      .name = "bench",
      .summary = "Measures the speed of prompts and generation.",
      .details =
          "Beside tokens per second: bytes of weights read per second, and the shares of the "
          "read bandwidth and of the integer peak, which are measured in the same run. "
          "Tokens are random. Each list makes rows for all its numbers.",
      .common = std::make_shared<CommonFlags>(),
      .json_keys = bench_json_keys(),
      .run = [flags](Session& session) { run(*flags, session); }};
  Flag model = model_flag(flags->model);
  model.required = false;
  BenchRequest& request = flags->request;
  command.flags = {
      std::move(model),
      {.names = "--synthetic",
       .value = "SHAPE",
       .target = &flags->synthetic,
       .help = "makes a model of this shape with random codes in place of MODEL",
       .choices = choices_of(all_synthetic_shapes())},
      {.names = "--format",
       .value = "FORMAT",
       .target = &flags->shape.format,
       .help = "of the linears in blocks of a synthetic model"},
      {.names = "--head-format",
       .value = "FORMAT",
       .target = &flags->shape.head_format,
       .help = "of its token table and head"},
      {.names = "--keep",
       .value = "DIR",
       .target = &flags->keep,
       .help = "folder to write it to, which stays; with -p 0 -n 0 nothing else is done",
       .fallback = "a temporary one, removed"},
      force_flag(flags->shape.force),
      {.names = "-p,--prompt",
       .value = "N,...",
       .target = &request.prompts,
       .help = "lengths of prompts; 0 = none",
       .min = 0,
       .fallback = fmt::format("{}, at most the model's context", kBenchPrompt)},
      {.names = "-n,--generate",
       .value = "N,...",
       .target = &request.generated,
       .help = "numbers of tokens to generate; 0 = none",
       .min = 0,
       .fallback = fmt::format("{}, at most the model's context", kBenchGenerated)},
      {.names = "-d,--depth",
       .value = "N,...",
       .target = &request.depths,
       .help = "tokens in the cache before each test",
       .min = 0},
      {.names = "-t,--threads",
       .value = "N,...",
       .target = &request.threads,
       .help = "threads of the pool",
       .min = 1,
       .max = 1024,
       .fallback = "physical cores this process may use"},
      {.names = "-r,--repetitions",
       .value = "N",
       .target = &request.repetitions,
       .help = "measurements of each test, after a warm-up",
       .min = 1,
       .max = 100000},
      activations_flag(flags->activations),
      {.names = "--csv",
       .target = &flags->csv,
       .help = "the rows with commas, their keys in the first line"},
      json_flag(*command.common),
  };
  return command;
}

}  // namespace twofold::cli

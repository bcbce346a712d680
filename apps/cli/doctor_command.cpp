// twofold doctor: what this machine offers, and what a model will make of it.
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "commands.h"
#include "engine/model.h"
#include "pipeline/doctor.h"
#include "session.h"
#include "text_table.h"

namespace twofold::cli {

namespace {

struct DoctorFlags {
  std::string model, activations = "int8";
};

std::string isa_text(const MachineReport& machine) {
  std::vector<std::string> names;
  for (const Isa isa : all_isas()) {
    const bool offered = std::ranges::count(machine.offered, isa) > 0;
    names.push_back(fmt::format("{} {}{}", isa_name(isa), offered ? "yes" : "no",
                                refused_by_system(isa) ? " (the system refuses it)" : ""));
  }
  return fmt::format("{}; used: {} ({})", fmt::join(names, ", "), isa_name(machine.used),
                     machine.capped ? "TWOFOLD_ISA" : "the best there is");
}

std::string cache_text(const MachineReport& machine) {
  std::vector<std::string> parts;
  for (const CacheLevel& cache : machine.caches) {
    parts.push_back(fmt::format(
        "L{} {}{}", cache.level, bytes_text(cache.bytes),
        cache.shared_by > 1 ? fmt::format(" shared by {} processors", cache.shared_by) : ""));
  }
  return parts.empty() ? "unknown" : fmt::format("{}", fmt::join(parts, ", "));
}

std::string thread_text(const MachineReport& machine) {
  const ThreadChoice& choice = machine.choice;
  const auto threads = static_cast<int>(machine.bound_cpus.size());
  const std::string quota =
      choice.quota ? fmt::format("the cgroup grants {}", *choice.quota) : "no cgroup quota";
  std::string text = fmt::format(
      "{}{}: {} physical cores among the {} processors of the affinity mask ({} online), {}",
      threads,
      threads == choice.threads ? "" : fmt::format(" (asked for; default {})", choice.threads),
      choice.cores, choice.usable, choice.online, quota);
  std::vector<std::string> bound;
  for (size_t i = 0; i < machine.bound_cpus.size(); ++i) {
    const int cpu = machine.bound_cpus[i];
    bound.push_back(fmt::format("{} on {}", i, cpu < 0 ? "any" : fmt::format("{}", cpu)));
  }
  return text + fmt::format("\nbound to        thread {}", fmt::join(bound, ", "));
}

std::string machine_text(const MachineReport& machine) {
  std::string text = fmt::format("CPU             {}\n", machine.cpu);
  text += fmt::format("instructions    {}\n", isa_text(machine));
  text += fmt::format("caches          {}\n", cache_text(machine));
  text += fmt::format("threads         {}\n\n", thread_text(machine));
  std::vector<std::vector<std::string>> rows;
  for (const MachineSpeed& speed : machine.speeds) {
    const auto giga = [](double value) { return fmt::format("{:.1f}", value / 1e9); };
    rows.push_back({fmt::format("{}", speed.threads), giga(speed.read_bytes_per_second),
                    giga(speed.peaks.integer.operations_per_second),
                    giga(speed.peaks.floating.operations_per_second)});
  }
  const ComputePeaks& peaks = machine.speeds.front().peaks;
  return text +
         text_table({{"threads", true},
                     {"read GB/s", true},
                     {"integer Gop/s", true},
                     {"float Gop/s", true}},
                    rows) +
         fmt::format("integer: {}; float: {}; products of floats: {}\n", peaks.integer.instruction,
                     peaks.floating.instruction, machine.float_products);
}

std::string matrices_text(const ModelTraffic& traffic) {
  std::vector<std::vector<std::string>> rows;
  for (const MatrixKernel& matrix : traffic.matrices) {
    rows.push_back({matrix.name, fmt::format("{} x {}", matrix.rows, matrix.cols), matrix.format,
                    fmt::format("{}", matrix.bytes),
                    matrix.per_token ? matrix.one_row : "rows looked up",
                    matrix.per_prompt_token ? matrix.many_rows : ""});
  }
  return text_table(
      {{"matrix"}, {"shape", true}, {"format"}, {"bytes", true}, {"one token"}, {"prompt"}}, rows);
}

/// How many matrices every token waits for and no kernel multiplies; the table names them.
std::string slow_text(const ModelTraffic& traffic) {
  int64_t all = 0;
  std::map<std::string, int64_t> slow;
  for (const MatrixKernel& matrix : traffic.matrices) {
    if (!matrix.per_token) continue;
    ++all;
    if (!matrix.fast) ++slow[matrix.format];
  }
  std::string text;
  for (const auto& [format, count] : slow) {
    text += fmt::format("no fast kernel: {} of {} matrices, {}\n", count, all, format);
  }
  return text.empty() ? "every matrix has a fast kernel\n" : text;
}

std::string threads_text(int threads) {
  return fmt::format("{} thread{}", threads, threads == 1 ? "" : "s");
}

/// How fast each kernel is with weights from the cache, and what a token waits for.
std::string kernels_text(const ModelTraffic& traffic, std::span<const TokenSpeed> speeds) {
  std::vector<Column> columns = {{"one token"}, {"format"}, {"shape", true}, {"matrices", true}};
  for (const TokenSpeed& speed : speeds) {
    columns.push_back({"GB/s from cache, " + threads_text(speed.threads), true});
    columns.push_back({"bound by"});
  }
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < traffic.kinds.size(); ++i) {
    const MatrixKind& kind = traffic.kinds[i];
    rows.push_back({kind.kernel, kind.format, fmt::format("{} x {}", kind.rows, kind.cols),
                    fmt::format("{}", kind.matrices)});
    for (const TokenSpeed& speed : speeds) {
      rows.back().push_back(fmt::format("{:.1f}", speed.kinds[i].bytes_per_second / 1e9));
      rows.back().emplace_back(bound_name(speed.kinds[i]));
    }
  }
  return text_table(columns, rows);
}

std::string model_text(const std::string& path, const ModelTraffic& traffic,
                       std::span<const TokenSpeed> speeds) {
  std::string text = fmt::format("\n{}\n\n{}\n{}\n{}", path, matrices_text(traffic),
                                 slow_text(traffic), kernels_text(traffic, speeds));
  text += fmt::format("\nbytes per token {} ({})\n", traffic.bytes_per_token(),
                      bytes_text(traffic.bytes_per_token()));
  for (const TokenSpeed& speed : speeds) {
    text += fmt::format("predicted       {:.1f} tokens/s at {}; if memory were all: {:.1f}\n",
                        speed.tokens_per_second, threads_text(speed.threads),
                        speed.memory_tokens_per_second);
  }
  return text;
}

void run(const DoctorFlags& flags, Session& session) {
  session.use_activations(flags.activations);
  std::shared_ptr<const Model> model;  // loaded, so that damage is refused as everywhere
  if (!flags.model.empty()) model = Model::load(flags.model);
  const MachineReport machine = diagnose_machine(session.ctx());
  ModelTraffic traffic;
  std::vector<TokenSpeed> speeds;
  if (model) {
    traffic = model_traffic(model->files(), session.ctx());
    speeds = predict_speeds(model->files(), traffic, machine, session.ctx());
  }
  if (session.json()) {
    OrderedJson json = to_json(machine);
    json["model"] = nullptr;
    if (model) {
      json["model"] = flags.model;
      json.update(to_json(traffic, speeds));
    }
    return session.print_json(json);
  }
  session.print(machine_text(machine) +
                (model ? model_text(flags.model, traffic, speeds) : std::string()));
}

std::vector<JsonKey> doctor_json_keys() {
  return {
      {"cpu", "its name"},
      {"isa", "instruction set in use"},
      {"isa_capped", "whether TWOFOLD_ISA made it a lower one"},
      {"isas", "a list of the levels this program knows, lowest first"},
      {"isas[].name", ""},
      {"isas[].offered", "by CPU and operating system"},
      {"isas[].refused_by_system", "the CPU has it, but may not use it"},
      {"isas[].used", "by this process"},
      {"float_products", "what calibration and scoring multiply with"},
      {"caches", "a list of the data caches, smallest first"},
      {"caches[].level", ""},
      {"caches[].bytes", ""},
      {"caches[].shared_by", "processors that use it"},
      {"threads", "of the pool"},
      {"default_threads", "without --threads: physical cores, at most cgroup_quota"},
      {"processors_online", "of the machine"},
      {"processors_usable", "of them in the affinity mask"},
      {"physical_cores", "among these"},
      {"cgroup_quota", "processors that the cgroup grants; null: no limit"},
      {"bound_cpus", "a list: the processor each thread is bound to, -1 if none"},
      {"speeds", "a list: one thread, all threads"},
      {"speeds[].threads", ""},
      {"speeds[].read_bytes_per_second", "median of passes over a buffer larger than the caches"},
      {"speeds[].integer_operations_per_second",
       "of the best integer instruction on registers; multiply and add count as two"},
      {"speeds[].integer_instruction", ""},
      {"speeds[].float_operations_per_second", "the same in float32"},
      {"speeds[].float_instruction", ""},
      {"model", "as given; null without MODEL. The keys below only with MODEL"},
      {"bytes_per_token", "of block linears and head; of experts the share that a token has"},
      {"predicted", "a list, as speeds"},
      {"predicted[].threads", ""},
      {"predicted[].tokens_per_second",
       "of the time that each matrix takes: bytes_per_token / the lower of "
       "cached_bytes_per_second and read_bytes_per_second"},
      {"predicted[].memory_tokens_per_second",
       "if memory were all there is to wait for: read_bytes_per_second / bytes_per_token"},
      {"kernels", "a list: what multiplies a token, for each format, shape and number of threads"},
      {"kernels[].kernel", "as matrices[].kernel"},
      {"kernels[].format", ""},
      {"kernels[].rows", ""},
      {"kernels[].cols", ""},
      {"kernels[].activation_digits", "of int8 for one activation; each is a row of the product"},
      {"kernels[].matrices", "how many there are"},
      {"kernels[].bytes_per_token", "of them together; of experts the share that a token has"},
      {"kernels[].threads", ""},
      {"kernels[].cached_bytes_per_second",
       "measured on the first rows of one of them, as many as the second cache holds"},
      {"kernels[].bound_by",
       "memory, or instructions where the kernel is slower from the cache than memory is read; of "
       "small matrices the start of the threads is among them"},
      {"matrices", "a list of all two-dimensional tensors"},
      {"matrices[].name", ""},
      {"matrices[].rows", "outputs"},
      {"matrices[].cols", "inputs"},
      {"matrices[].format", "as in inspect"},
      {"matrices[].bytes", ""},
      {"matrices[].per_token",
       "multiplied for every token, an expert's for those it is given; else its rows are looked "
       "up"},
      {"matrices[].kernel", "that multiplies it for one token"},
      {"matrices[].prompt_kernel",
       "that multiplies it for 512 tokens; of the head, for the last one"},
      {"matrices[].fast", "whether both are kernels above the baseline"}};
}

}  // namespace

Command doctor_command() {
  const auto flags = std::make_shared<DoctorFlags>();
  Command command{
      .name = "doctor",
      .summary = "Shows what this machine offers and what the program makes of it.",
      .details =
          "Instruction sets, caches, threads and why, measured read bandwidth and peaks; for "
          "a model the kernel of every matrix, how fast each is with weights from the cache, bytes "
          "per token and the speed to expect. A model is loaded and checked as for generate; "
          "damaged matrices are refused.",
      .common = std::make_shared<CommonFlags>(),
      .json_keys = doctor_json_keys(),
      .run = [flags](Session& session) { run(*flags, session); }};
  Flag model = model_flag(flags->model);
  model.required = false;
  command.flags = {std::move(model), activations_flag(flags->activations),
                   json_flag(*command.common)};
  return command;
}

}  // namespace twofold::cli

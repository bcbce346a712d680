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

std::string model_text(const std::string& path, const ModelTraffic& traffic,
                       const MachineReport& machine) {
  std::string text =
      fmt::format("\n{}\n\n{}\n{}", path, matrices_text(traffic), slow_text(traffic));
  text += fmt::format("\nbytes per token {} ({})\n", traffic.bytes_per_token(),
                      bytes_text(traffic.bytes_per_token()));
  for (const MachineSpeed& speed : machine.speeds) {
    text += fmt::format(
        "predicted       {:.1f} tokens/s at {} thread{}: read bandwidth / bytes per "
        "token\n",
        predicted_tokens_per_second(traffic, speed), speed.threads, speed.threads == 1 ? "" : "s");
  }
  return text;
}

void run(const DoctorFlags& flags, Session& session) {
  session.use_activations(flags.activations);
  std::optional<ModelTraffic> traffic;
  if (!flags.model.empty()) {
    // Loaded, so that damage is refused as everywhere.
    traffic = model_traffic(Model::load(flags.model)->files(), session.ctx());
  }
  const MachineReport machine = diagnose_machine(session.ctx());
  if (session.json()) {
    OrderedJson json = to_json(machine);
    json["model"] = nullptr;
    if (traffic) {
      json["model"] = flags.model;
      json.update(to_json(*traffic, machine));
    }
    return session.print_json(json);
  }
  session.print(machine_text(machine) +
                (traffic ? model_text(flags.model, *traffic, machine) : std::string()));
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
      {"predicted", "a list, as speeds: what memory allows"},
      {"predicted[].threads", ""},
      {"predicted[].tokens_per_second", "read_bytes_per_second / bytes_per_token"},
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
          "a model the kernel of every matrix, bytes per token and the speed to expect.",
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

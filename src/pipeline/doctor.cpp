#include "pipeline/doctor.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/json.h"
#include "engine/linear.h"
#include "kernels/select.h"
#include "tensor/gemm.h"

namespace twofold {
namespace {

MachineSpeed measure_speed(const Context& ctx) {
  MachineSpeed speed;
  speed.threads = ctx.pool.size();
  speed.peaks = measure_peaks(ctx);
  speed.read_bytes_per_second = median(measure_read_bandwidth(ctx));
  return speed;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return result;
}

/// With other threads. Callbacks stay behind.
Context with_pool(const Context& ctx, ThreadPool& pool) {
  return {.pool = pool,
          .isa = ctx.isa,
          .activations = ctx.activations,
          .kernel_limit = ctx.kernel_limit,
          .cancel = ctx.cancel};
}

/// Names the kernel for `rows` rows; clears `fast` if it is none above the baseline.
std::string kernel_name(std::span<const Kernel* const> kernels, int64_t rows, const Context& ctx,
                        bool& fast) {
  const Kernel* kernel = product_kernel(kernels, rows, ctx);
  fast = fast && kernel != nullptr && kernel->isa > Isa::kScalar;
  return std::string(kernel != nullptr ? kernel->name : kDecodedPanels);
}

MatrixKernel matrix_kernel(const Slot& slot, bool tied_head, const Context& ctx) {
  MatrixKernel matrix;
  matrix.name = slot.name;
  matrix.rows = slot.shape[0];
  matrix.cols = slot.shape[1];
  const bool table = slot.role == Role::kEmbedding && tied_head;
  matrix.per_prompt_token = is_block_linear(slot.role) || slot.role == Role::kRouter;
  matrix.per_token = matrix.per_prompt_token || slot.role == Role::kHead || table;
  matrix.one_row = matrix.many_rows = kDecodedPanels;
  matrix.bytes = slot_bytes(slot);
  if (slot.format.empty()) {
    matrix.format = lower(slot.tensor->type->name);
    return matrix;
  }
  matrix.format = slot.format;
  const std::vector<const Kernel*> kernels = kernels_of(parse_format(slot.format));
  matrix.fast = true;
  const int64_t digits = std::clamp<int64_t>(slot.activation_digits, 1, 2);  // each is a row
  matrix.one_row = kernel_name(kernels, digits, ctx, matrix.fast);
  // The head multiplies the last row of a prompt only.
  const int64_t many = matrix.per_prompt_token ? kPromptRows : 1;
  matrix.many_rows = kernel_name(kernels, many * digits, ctx, matrix.fast);
  return matrix;
}

/// Counts a matrix with those of its kind. @param share of it that a token is multiplied by.
void count_kind(std::vector<MatrixKind>& kinds, const MatrixKernel& matrix, int64_t digits,
                double share, size_t slot) {
  auto kind = std::ranges::find_if(kinds, [&](const MatrixKind& k) {
    return k.format == matrix.format && k.kernel == matrix.one_row && k.rows == matrix.rows &&
           k.cols == matrix.cols && k.digits == digits;
  });
  if (kind == kinds.end()) {
    kinds.push_back({.format = matrix.format,
                     .kernel = matrix.one_row,
                     .rows = matrix.rows,
                     .cols = matrix.cols,
                     .digits = digits,
                     .slot = slot});
    kind = kinds.end() - 1;
  }
  ++kind->matrices;
  kind->bytes_per_token += share * static_cast<double>(matrix.bytes);
}

OrderedJson to_json(const MachineSpeed& speed) {
  return {{"threads", speed.threads},
          {"read_bytes_per_second", speed.read_bytes_per_second},
          {"integer_operations_per_second", speed.peaks.integer.operations_per_second},
          {"integer_instruction", speed.peaks.integer.instruction},
          {"float_operations_per_second", speed.peaks.floating.operations_per_second},
          {"float_instruction", speed.peaks.floating.instruction}};
}

}  // namespace

MachineReport diagnose_machine(const Context& ctx) {
  MachineReport report;
  report.cpu = cpu_name();
  for (const Isa isa : all_isas()) {
    if (cpu_has(isa)) report.offered.push_back(isa);
  }
  report.used = ctx.isa;
  report.capped = ctx.isa != report.offered.back();
  report.float_products = matmul_arithmetic(ctx.isa);
  report.caches = data_caches();
  report.choice = choose_threads();
  report.bound_cpus = ctx.pool.bound_cpus();
  if (ctx.pool.size() > 1) {
    ThreadPool one(1);
    report.speeds.push_back(measure_speed(with_pool(ctx, one)));
  }
  report.speeds.push_back(measure_speed(ctx));
  return report;
}

ModelTraffic model_traffic(const ModelFiles& files, const Context& ctx) {
  const bool has_head =
      std::ranges::any_of(files.slots, [](const Slot& slot) { return slot.role == Role::kHead; });
  ModelTraffic traffic;
  std::map<std::string, int64_t> format_bytes;
  struct Read {
    int64_t bytes = 0, weights = 0;
  };
  Read always;                  // of block linears
  std::map<int, Read> experts;  // of all that a block has
  const ModelConfig& c = files.config;
  for (size_t i = 0; i < files.slots.size(); ++i) {
    const Slot& slot = files.slots[i];
    if (slot.shape.size() != 2) continue;
    MatrixKernel matrix = matrix_kernel(slot, !has_head, ctx);
    const double share =
        slot.expert < 0 ? 1
                        : static_cast<double>(c.experts_per_token) / static_cast<double>(c.experts);
    if (matrix.per_token) {
      count_kind(traffic.kinds, matrix, slot.activation_digits, share, i);
    }
    if (matrix.per_prompt_token) {
      Read& read = slot.expert < 0 ? always : experts[slot.layer];
      read.bytes += matrix.bytes;
      read.weights += matrix.rows * matrix.cols;
      format_bytes[matrix.format] += matrix.bytes;
    } else if (matrix.per_token) {
      traffic.head_bytes += matrix.bytes;
      traffic.head_weights += matrix.rows * matrix.cols;
    }
    traffic.matrices.push_back(std::move(matrix));
  }
  traffic.block_bytes = always.bytes;
  traffic.block_weights = always.weights;
  for (const auto& [layer, all] : experts) {
    traffic.block_bytes += all.bytes * c.experts_per_token / c.experts;
    traffic.block_weights += all.weights * c.experts_per_token / c.experts;
  }
  const auto most =
      std::ranges::max_element(format_bytes, {}, [](const auto& f) { return f.second; });
  if (most != format_bytes.end()) traffic.format = most->first;
  return traffic;
}

std::vector<TokenSpeed> predict_speeds(const ModelFiles& files, const ModelTraffic& traffic,
                                       const MachineReport& machine, const Context& ctx) {
  std::vector<TokenSpeed> predicted;
  for (const MachineSpeed& speed : machine.speeds) {
    std::optional<ThreadPool> own;
    if (speed.threads != ctx.pool.size()) own.emplace(speed.threads);
    const std::vector<double> rates =
        measure_kernel_rates(files, traffic.kinds, with_pool(ctx, own ? *own : ctx.pool));
    predicted.push_back(predict_speed(traffic.kinds, speed.read_bytes_per_second, rates));
    predicted.back().threads = speed.threads;
  }
  return predicted;
}

OrderedJson to_json(const MachineReport& machine) {
  OrderedJson json;
  json["cpu"] = machine.cpu;
  json["isa"] = isa_name(machine.used);
  json["isa_capped"] = machine.capped;
  json["isas"] = OrderedJson::array();
  for (const Isa isa : all_isas()) {
    json["isas"].push_back({{"name", isa_name(isa)},
                            {"offered", std::ranges::count(machine.offered, isa) > 0},
                            {"refused_by_system", refused_by_system(isa)},
                            {"used", isa <= machine.used}});
  }
  json["float_products"] = machine.float_products;
  json["caches"] = OrderedJson::array();
  for (const CacheLevel& cache : machine.caches) {
    json["caches"].push_back(
        {{"level", cache.level}, {"bytes", cache.bytes}, {"shared_by", cache.shared_by}});
  }
  const ThreadChoice& choice = machine.choice;
  json["threads"] = machine.bound_cpus.size();
  json["default_threads"] = choice.threads;
  json["processors_online"] = choice.online;
  json["processors_usable"] = choice.usable;
  json["physical_cores"] = choice.cores;
  json["cgroup_quota"] = choice.quota ? OrderedJson(*choice.quota) : OrderedJson();
  json["bound_cpus"] = machine.bound_cpus;
  json["speeds"] = OrderedJson::array();
  for (const MachineSpeed& speed : machine.speeds) json["speeds"].push_back(to_json(speed));
  return json;
}

OrderedJson to_json(const ModelTraffic& traffic, std::span<const TokenSpeed> speeds) {
  OrderedJson json;
  json["bytes_per_token"] = traffic.bytes_per_token();
  json["predicted"] = OrderedJson::array();
  json["kernels"] = OrderedJson::array();
  for (const TokenSpeed& speed : speeds) {
    json["predicted"].push_back({{"threads", speed.threads},
                                 {"tokens_per_second", speed.tokens_per_second},
                                 {"memory_tokens_per_second", speed.memory_tokens_per_second}});
    for (size_t i = 0; i < traffic.kinds.size(); ++i) {
      const MatrixKind& kind = traffic.kinds[i];
      json["kernels"].push_back({{"kernel", kind.kernel},
                                 {"format", kind.format},
                                 {"rows", kind.rows},
                                 {"cols", kind.cols},
                                 {"activation_digits", kind.digits},
                                 {"matrices", kind.matrices},
                                 {"bytes_per_token", kind.bytes_per_token},
                                 {"threads", speed.threads},
                                 {"cached_bytes_per_second", speed.kinds[i].bytes_per_second},
                                 {"bound_by", bound_name(speed.kinds[i])}});
    }
  }
  json["matrices"] = OrderedJson::array();
  for (const MatrixKernel& matrix : traffic.matrices) {
    json["matrices"].push_back({{"name", matrix.name},
                                {"rows", matrix.rows},
                                {"cols", matrix.cols},
                                {"format", matrix.format},
                                {"bytes", matrix.bytes},
                                {"per_token", matrix.per_token},
                                {"kernel", matrix.one_row},
                                {"prompt_kernel", matrix.many_rows},
                                {"fast", matrix.fast}});
  }
  return json;
}

}  // namespace twofold

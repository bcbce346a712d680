// Bench: how fast a model reads prompts and generates, beside what the machine reads and computes
// at most, measured in the same run.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/context.h"
#include "engine/model.h"

namespace twofold {

/// Lengths that are measured where none are asked for, if the model's context admits them.
constexpr int64_t kBenchPrompt = 512, kBenchGenerated = 128;

/// One row for each thread count, depth, and prompt or generation length; lengths of 0 are left
/// out.
struct BenchRequest {
  std::vector<int64_t> prompts = {};    // empty: kBenchPrompt, or what the context leaves
  std::vector<int64_t> generated = {};  // empty: kBenchGenerated, or what the context leaves
  std::vector<int64_t> depths = {0};    // tokens that the cache holds already
  std::vector<int64_t> threads = {};    // empty: those of the context
  int64_t repetitions = 5;
};

struct BenchRow {
  std::string model, format;  // format of most bytes of the block linears
  int64_t bytes = 0;          // of all tensors of the model
  int64_t parameters = 0;
  int threads = 1;
  int64_t prompt = 0, generated = 0, depth = 0;  // prompt or generated is 0
  std::vector<double> samples;                   // tokens per second, one per repetition
  double tokens_per_second = 0;                  // mean
  double tokens_per_second_stddev = 0;           // of the samples; 0 for one
  int64_t bytes_per_token = 0;                   // block linears and head
  /// Bytes of matrices read per second: all of them per generated token; once per chunk of a
  /// prompt.
  double bytes_per_second = 0;
  double read_bytes_per_second = 0;  // of the machine, median of passes before and after the row
  double bandwidth_share = 0;        // bytes_per_second / read_bytes_per_second
  /// Multiplications and additions of the matrices (attention is not counted).
  double operations_per_second = 0;
  double integer_peak = 0;        // operations per second of the machine
  double peak_share = 0;          // operations_per_second / integer_peak
  int64_t peak_memory_bytes = 0;  // of the process during the row, mapped files included
  std::string isa, activations;   // names

  std::string test() const;  // "pp512", "tg128", "tg128 @ d4096"
};

/// Measures every row: a warm-up, then the repetitions. Tokens are random.
/// @param on_row gets each row as it is done; may be empty.
/// @throws Error(kInvalidArgument) if there is nothing to measure, or if depth and length exceed
/// the model's context; Error(kCancelled).
std::vector<BenchRow> run_bench(const Model& model, const std::string& name,
                                const BenchRequest& request, const Context& ctx,
                                const std::function<void(const BenchRow&)>& on_row = {});

/// The interface of `bench --json` (docs/cli.md).
nlohmann::ordered_json to_json(const BenchRow& row);
/// The same rows with a line of titles.
std::string bench_csv(std::span<const BenchRow> rows);
/// Columns of llama-bench, then ours.
std::string bench_markdown(std::span<const BenchRow> rows);

}  // namespace twofold

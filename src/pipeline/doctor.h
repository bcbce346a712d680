// Doctor: what this machine offers and what the program makes of it, and for a model the kernel of
// every matrix and the speed to expect. Measures; changes nothing.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/cpu.h"
#include "kernels/probe.h"
#include "model/model_files.h"
#include "pipeline/token_speed.h"

namespace twofold {

/// What a number of threads reaches.
struct MachineSpeed {
  int threads = 1;
  double read_bytes_per_second = 0;  // median of the passes
  ComputePeaks peaks;
};

struct MachineReport {
  std::string cpu;
  std::vector<Isa> offered;  // by CPU and operating system, lowest first
  Isa used = Isa::kScalar;
  bool capped = false;         // by the environment variable TWOFOLD_ISA
  std::string float_products;  // what calibration and scoring multiply with
  std::vector<CacheLevel> caches;
  ThreadChoice choice;               // what the default would be, and why
  std::vector<int> bound_cpus;       // of the pool in use: as ThreadPool::bound_cpus
  std::vector<MachineSpeed> speeds;  // one thread; then all of the pool, if there are more
};

/// Measures for about two seconds. @throws Error(kCancelled)
MachineReport diagnose_machine(const Context& ctx);

/// How the engine multiplies one matrix.
struct MatrixKernel {
  std::string name, format;
  int64_t rows = 0, cols = 0, bytes = 0;
  bool per_token = false;          // multiplied for every token (of experts: for those that are
                                   // given to this one); false: rows are looked up
  bool per_prompt_token = false;   // multiplied for every token of a prompt: all but the head
  std::string one_row, many_rows;  // kernels for one token, and for kPromptRows of a prompt (the
                                   // head: for its last one)
  bool fast = false;               // both are kernels of an instruction set above the baseline
};

struct ModelTraffic {
  std::vector<MatrixKernel> matrices;  // every two-dimensional tensor
  std::vector<MatrixKind> kinds;       // of those that a token is multiplied by
  std::string format;                  // of most bytes of the block linears
  /// Of experts the share that a token has.
  int64_t block_bytes = 0, head_bytes = 0;
  int64_t block_weights = 0, head_weights = 0;
  /// Bytes of matrices that one token reads.
  int64_t bytes_per_token() const { return block_bytes + head_bytes; }
};

/// Rows of the prompt for which a kernel is named.
inline constexpr int64_t kPromptRows = 512;

/// Name of what multiplies a matrix that has no kernel, and with float activations every matrix.
inline constexpr std::string_view kDecodedPanels = "decoded panels (no packed kernel)";

/// The kernels that the engine would choose with `ctx`, from names and sizes alone.
/// @throws Error(kCorruptFile) on an unknown format.
ModelTraffic model_traffic(const ModelFiles& files, const Context& ctx);

/// Tokens per second for each of `machine.speeds`; measures the kernels. @throws Error(kCancelled),
/// Error as Model::load.
std::vector<TokenSpeed> predict_speeds(const ModelFiles& files, const ModelTraffic& traffic,
                                       const MachineReport& machine, const Context& ctx);

/// The interface of `doctor --json` (docs/cli.md).
nlohmann::ordered_json to_json(const MachineReport& machine);
nlohmann::ordered_json to_json(const ModelTraffic& traffic, std::span<const TokenSpeed> speeds);

}  // namespace twofold

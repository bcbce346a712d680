#include "pipeline/memory_plan.h"

#include <algorithm>
#include <charconv>

#include "base/checked_math.h"
#include "base/error.h"
#include "io/file.h"
#include "pipeline/hidden_states.h"
#include "pipeline/self_score.h"
#include "quant/row_chunks.h"

namespace twofold {
namespace {

constexpr int64_t kFloat = sizeof(float), kDouble = sizeof(double), kCode = sizeof(uint16_t);
/// Parameters of a group: scale, zero, offset. Of a table that it has of its own, for each entry
/// (RowTableGrid): level, value, bound and code.
constexpr int64_t kSetFloats = 3, kTableEntryBytes = 3 * kFloat + 1;
/// Columns that a RowBlock has sums of at a time: those of feedback and of its products.
constexpr int64_t kCurrentColumns = 2 * 128;
/// Scratch of each thread: panels of the float product, rows in flight, the stack.
constexpr int64_t kThreadBytes = int64_t{1} << 20;
/// Tables and codes that do not grow with the model, allocator slack, pages of the program that are
/// not read before the work starts.
constexpr int64_t kFixedBytes = int64_t{3} << 20;
/// Rows of logits that scoring holds at once (eval/evaluate.cpp).
constexpr int64_t kScoreRows = 256, kScoreFloats = int64_t{16} << 20;

struct Longest {
  int64_t all = 0, longest = 0;  // tokens
};

Longest tokens_of(const CalibrationSamples& samples) {
  Longest tokens;
  for (const std::vector<int32_t>& window : samples.windows) {
    tokens.all += std::ssize(window);
    tokens.longest = std::max(tokens.longest, static_cast<int64_t>(std::ssize(window)));
  }
  return tokens;
}

/// Activations of `tokens` tokens inside one block: BlockBuffers and the stream. All of them may go
/// to one expert.
int64_t activation_bytes(const ModelConfig& c, int64_t tokens) {
  const int64_t attention = 2 * c.q_width() + 2 * c.kv_width();
  const bool experts = std::ranges::any_of(c.layer_configs, &LayerConfig::experts);
  const int64_t intermediate =
      experts ? std::max(c.intermediate, c.expert_intermediate) : c.intermediate;
  const int64_t mlp = intermediate * (c.gated_mlp ? 3 : 2);
  const int64_t routed = experts ? 2 * c.hidden + c.experts + 8 * c.experts_per_token : 0;
  return tokens * (2 * c.hidden + routed + std::max(attention, mlp)) * kFloat;
}

/// Numbers and codes of one matrix while it is solved: the copy in the stored basis, codes; with
/// feedback a second set of codes, and where groups are fitted on the way the errors in float64.
int64_t solve_bytes(const PlannedTensor& tensor, bool with_moment) {
  const int64_t feedback = with_moment ? kCode : 0;
  const int64_t errors = with_moment && tensor.choice->group > 0 ? kDouble + kCode : 0;
  return tensor.slot.shape[0] * tensor.slot.shape[1] * (kFloat + kCode + feedback + errors);
}

/// Per weight of the rows that a thread refits: the errors and codes of RowBlock and copies of them
/// row by row, E H, slopes, moves and squares in float64, values before and after.
constexpr int64_t kRefitBytes = 6 * kDouble + 2 * kCode + 2 * kFloat;

/// Columns of H that the refit of tables has a copy of.
constexpr int64_t kRefitColumns = 64;

/// What the loop over the columns of one matrix holds for all its candidate grids.
struct LoopBytes {
  int64_t parameters = 0;
  int64_t chunk = 0;  // the rows that a thread works on (RowBlock), of every candidate at once
  int64_t chunks = 0;
};

LoopBytes loop_bytes(const PlannedTensor& tensor) {
  const MethodChoice& choice = *tensor.choice;
  if (!find_rounding(choice.rounding).needs_moment) return {};
  const int64_t rows = tensor.slot.shape[0], cols = tensor.slot.shape[1];
  const auto row = make_grid(choice, 1, cols, tensor.slot.name);
  const bool explores =
      choice.params.has("explore") && choice.params.get_choice("explore") == "loop";
  const int64_t candidates = explores ? std::ssize(row->explore_factors()) : 1;
  const Scheme scheme = row->scheme();
  const bool own_table =
      scheme.kind == ValueKind::kTable && scheme.table_sharing != Sharing::kMatrix;
  const int64_t set = kSetFloats * kFloat + (own_table ? kTableEntryBytes << scheme.bits : 0);
  const int64_t sets = scheme.group > 0 ? ceil_div(cols, scheme.group) : 1;
  const int64_t lanes = std::min(rows, kRowChunk) * candidates;
  int64_t chunk = lanes * (cols * (kDouble + kCode) + kCurrentColumns * kDouble);
  if (row->refits() && choice.params.has("refits") && choice.params.get_int("refits") > 0) {
    chunk = std::max(
        chunk, std::min(rows, kRowChunk) * cols * kRefitBytes + cols * kRefitColumns * kDouble);
  } else if (row->width() == 1 && choice.params.has("passes") &&
             choice.params.get_int("passes") > 0) {
    chunk += lanes * cols * kDouble;  // E H
  }
  return {.parameters = candidates * rows * sets * set,
          .chunk = chunk,
          .chunks = ceil_div(rows, kRowChunk)};
}

/// The mean, the conditioned moment, its factor, and the copy the factor is made from.
int64_t moment_bytes(int64_t cols) { return 4 * cols * cols * kDouble; }

class Counter {
 public:
  explicit Counter(const MemoryRequest& request) : request_(request) {
    base_ = request.resident_bytes + kFixedBytes + kThreadBytes * request.threads;
    for (const PlannedBlock& block : request.work.output.blocks) {
      for (const PlannedInput& input : block.inputs) {
        for (const PlannedTensor& linear : input.linears) count_loop(loop_bytes(linear));
      }
    }
  }

  MemoryNeed count(MemoryMode mode) {
    need_ = {};
    for (const PlannedBlock& block : request_.work.output.blocks) {
      if (block.layer >= 0 && block.layer <= request_.work.last_calibrated) {
        add_calibrated(block, mode);
      } else {
        add_data_free(block);
      }
    }
    if (request_.score) add_score();
    return need_;
  }

 private:
  void count_loop(const LoopBytes& loop) {
    largest_chunk_ = std::max(largest_chunk_, loop.chunk);
    chunks_ += loop.chunks;
  }

  /// Of the loops of all threads. A thread keeps what its largest chunk took: the system's
  /// allocator has an arena for each, and seldom gives pages inside it back.
  int64_t chunks_bytes() const {
    return std::min<int64_t>(request_.threads, chunks_) * largest_chunk_;
  }

  void offer(int64_t bytes, std::string phase) {
    if (base_ + bytes > need_.bytes) need_ = {base_ + bytes, std::move(phase)};
  }

  int64_t stored_bytes(int layer) const {
    int64_t bytes = 0;
    for (const Slot& slot : request_.source.slots) {
      if (slot.layer == layer) bytes += slot_bytes(slot);
    }
    return bytes;
  }

  int64_t states_bytes(MemoryMode mode) const {
    const Longest tokens = tokens_of(*request_.samples);
    return HiddenStates::bytes(tokens.all, tokens.longest, request_.source.config.hidden,
                               mode.states_in_memory);
  }

  static int64_t weights_bytes(const PlannedInput& input) {
    int64_t bytes = 0;
    for (const PlannedTensor& linear : input.linears) {
      bytes += linear.slot.shape[0] * linear.slot.shape[1] * kFloat;
    }
    return bytes;
  }

  int64_t largest_solve(const PlannedInput& input, bool with_moment) const {
    int64_t bytes = 0;
    for (const PlannedTensor& linear : input.linears) {
      const int64_t loop = loop_bytes(linear).parameters;
      bytes = std::max(bytes, solve_bytes(linear, with_moment) + loop);
    }
    return bytes + chunks_bytes();
  }

  void add_data_free(const PlannedBlock& block) {
    const bool tables = block.layer < 0;  // one at a time, their pages given back
    const int64_t stored = tables ? 0 : stored_bytes(block.layer);
    for (const PlannedInput& input : block.inputs) {
      for (const PlannedTensor& tensor : input.linears) {
        // By rows the matrix is never in memory, unless an error must be found.
        const int64_t own = tensor.slot.shape[0] * tensor.slot.shape[1] * kFloat;
        offer(stored + (tables ? own : weights_bytes(input)) + solve_bytes(tensor, false),
              tensor.slot.name);
      }
    }
  }

  void add_calibrated(const PlannedBlock& block, MemoryMode mode) {
    const int64_t always =
        states_bytes(mode) + stored_bytes(block.layer) +
        activation_bytes(request_.source.config, tokens_of(*request_.samples).longest);
    for (const auto& stage : stages_of(block, mode.stages)) {
      int64_t moments = 0;
      for (const auto& [name, cols] : request_.work.calibrated(stage)) {
        moments += cols * cols * kDouble;
      }
      offer(always + moments, fmt::format("block {}, moments", block.layer));
      for (const PlannedInput& input : stage) {
        const bool known = request_.work.is_calibrated(input);
        const int64_t cols = input.linears.front().slot.shape[1];
        const int64_t own = known ? moment_bytes(cols) - cols * cols * kDouble : 0;
        offer(always + moments + own + weights_bytes(input) + largest_solve(input, known),
              input.name);
        if (known) moments -= cols * cols * kDouble;
      }
    }
  }

  void add_score() {
    const ModelConfig& config = request_.source.config;
    const int64_t rows = std::clamp<int64_t>(kScoreFloats / config.vocab_size, 1, kScoreRows);
    int64_t widest = 0;  // input of a matrix: a transform makes a copy of it
    for (const Slot& slot : request_.source.slots) {
      if (slot.layer >= 0 && slot.shape.size() == 2) widest = std::max(widest, slot.shape[1]);
    }
    offer(request_.source.checkpoint->stored_bytes() + activation_bytes(config, kScoreBatchTokens) +
              kScoreBatchTokens * widest * kFloat + rows * config.vocab_size * kFloat,
          "score");
  }

  const MemoryRequest& request_;
  int64_t base_ = 0;
  int64_t largest_chunk_ = 0, chunks_ = 0;  // of the loops over columns of all matrices
  MemoryNeed need_;
};

/// From the fastest to the smallest: a file of states is cheaper than passes for each input, and
/// those are fewer the more experts share one.
std::vector<StageSize> stage_sizes(const MemoryRequest& request) {
  std::vector<StageSize> sizes = {{.input_by_input = request.true_sequential},
                                  {.input_by_input = true}};
  for (int64_t experts = request.source.config.experts / 2; experts > 0; experts /= 2) {
    sizes.push_back({.input_by_input = true, .experts = experts});
  }
  return sizes;
}

}  // namespace

int64_t resident_bytes() {
  // "size resident ..." in pages.
  const std::string text = read_text_file("/proc/self/statm", 4096);
  const size_t space = text.find(' ');
  int64_t pages = 0;
  if (space != std::string::npos) {
    std::from_chars(text.data() + space + 1, text.data() + text.size(), pages);
  }
  return pages * page_bytes();
}

MemoryNeed predict_memory(const MemoryRequest& request, MemoryMode mode) {
  return Counter(request).count(mode);
}

namespace {

/// In the largest unit of --memory that says it exactly.
std::string size_as_given(int64_t bytes) {
  if (bytes % (1 << 20) == 0) return fmt::format("{}M", bytes >> 20);
  if (bytes % (1 << 10) == 0) return fmt::format("{}K", bytes >> 10);
  return fmt::format("{} bytes", bytes);
}

}  // namespace

MemoryMode choose_memory_mode(const MemoryRequest& request, std::optional<int64_t> budget) {
  if (!budget) return {.states_in_memory = true, .stages = stage_sizes(request).front()};
  MemoryNeed least{.bytes = INT64_MAX, .phase = {}};
  for (const StageSize& stages : stage_sizes(request)) {
    for (const bool in_memory : {true, false}) {
      const MemoryMode mode{.states_in_memory = in_memory, .stages = stages};
      MemoryNeed need = predict_memory(request, mode);
      if (need.bytes <= *budget) return mode;
      if (need.bytes < least.bytes) least = std::move(need);
    }
  }
  fail(ErrorCode::kInvalidArgument, "--memory", "expected at least {}M, which {} needs; found {}",
       (least.bytes + (1 << 20) - 1) >> 20, least.phase, size_as_given(*budget));
}

}  // namespace twofold

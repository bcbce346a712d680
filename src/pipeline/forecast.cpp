#include "pipeline/forecast.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/clock.h"
#include "base/json.h"
#include "calib/filled_moment.h"
#include "calib/moment_sum.h"
#include "engine/block_runner.h"
#include "pipeline/dense_weights.h"
#include "pipeline/hidden_states.h"
#include "pipeline/memory_plan.h"
#include "pipeline/output_files.h"
#include "pipeline/run_samples.h"

namespace twofold {
namespace {

constexpr int64_t kProbeTokens = 512;
constexpr int64_t kProbeRowsPerThread = 64;
constexpr int64_t kProbeCols = 2048;

template <class Body>
double seconds_of(const Body& body) {
  const Clock::time_point start = Clock::now();
  body();
  return seconds_since(start);
}

/// Measured costs of one block, one sample.
struct BlockCosts {
  double observe = 0, advance = 0;
};

class Estimator {
 public:
  Estimator(const ModelFiles& source, const WorkPlan& work, const CalibrationSamples* samples,
            const QuantizeOptions& options, const Context& ctx)
      : source_(source), work_(work), samples_(samples), options_(options), ctx_(ctx) {}

  double seconds(MemoryMode mode) {
    if (samples_ != nullptr) measure_blocks();
    double seconds = 0;
    for (const PlannedBlock& block : work_.output.blocks) {
      for (const auto& stage : stages_of(block, mode.stages)) {
        if (!work_.calibrated(stage).empty()) seconds += passes() * costs_of(block.layer).observe;
        for (const PlannedInput& input : stage) seconds += solve_seconds(input);
      }
    }
    for (int layer = 0; layer < work_.last_calibrated; ++layer) {
      seconds += passes() * costs_of(layer).advance;
    }
    for (const PlannedTensor& tensor : work_.output.kept) seconds += read_seconds(tensor.slot);
    return seconds + (options_.score ? score_seconds() : 0);
  }

 private:
  double passes() const {
    return samples_ == nullptr ? 0 : static_cast<double>(samples_->windows.size());
  }

  int64_t longest() const {
    return samples_ == nullptr ? kProbeTokens : std::ssize(samples_->windows.front());
  }

  std::vector<int32_t> probe_ids() const {
    if (samples_ == nullptr) {
      return std::vector<int32_t>(
          static_cast<size_t>(std::min(kProbeTokens, source_.config.context)));
    }
    std::vector<int32_t> ids = samples_->windows.front();
    ids.resize(std::min(ids.size(), static_cast<size_t>(kProbeTokens)));
    return ids;
  }

  /// One block of each kind: those with experts cost what others do not.
  void measure_blocks() {
    for (int layer = 0; layer < source_.config.layers; ++layer) {
      const bool experts = source_.config.layer(layer).experts;
      if (!blocks_.contains(experts)) blocks_[experts] = measure_block(layer);
    }
  }

  const BlockCosts& costs_of(int layer) const {
    return blocks_.at(source_.config.layer(layer).experts);
  }

  /// Runs one sample through a block, twice: the first time reads the weights. Keeps a moment of
  /// each number of columns.
  BlockCosts measure_block(int layer) {
    const std::vector<int32_t> ids = probe_ids();
    const int64_t tokens = std::ssize(ids), width = source_.config.hidden;
    AlignedBuffer<float> buffer(static_cast<size_t>(tokens * width));
    const Matrix<float> stream(buffer.data(), tokens, width);
    embed_sequence(source_, ids, stream, ctx_);
    const BlockRunner runner(source_, layer);
    std::map<std::string, MomentSum, std::less<>> sums;
    const auto observe = [&] {
      runner.observe(stream, {}, ctx_, [&](std::string_view input, Matrix<const float> x) {
        auto sum = sums.find(input);
        if (sum == sums.end()) sum = sums.emplace(input, x.cols).first;
        sum->second.add_sequence(x, ctx_);
      });
    };
    observe();
    const double scale = static_cast<double>(longest()) / static_cast<double>(tokens);
    BlockCosts costs;
    costs.observe = scale * seconds_of(observe);
    costs.advance = scale * seconds_of([&] { runner.run(stream, ctx_); });
    for (auto& [name, sum] : sums) {
      SecondMoment moment = std::move(sum).mean();
      fill_up(moment, nullptr);
      moments_.try_emplace(moment.cols, std::move(moment));
    }
    return costs;
  }

  double read_seconds(const Slot& slot) const {
    constexpr double kBytesPerSecond = 5e8;  // decoded, checked and written
    return static_cast<double>(element_count(slot.shape, slot.name)) * sizeof(float) /
           kBytesPerSecond;
  }

  /// All matrices of an input: what is prepared once per choice, then each matrix.
  double solve_seconds(const PlannedInput& input) {
    double seconds = 0;
    std::vector<const MethodChoice*> prepared;
    for (const PlannedTensor& linear : input.linears) {
      const Slot& slot = linear.slot;
      const MatrixCosts& costs = costs_of(linear, work_.is_calibrated(input));
      const auto known = std::ranges::find_if(
          prepared, [&](const MethodChoice* choice) { return *choice == *linear.choice; });
      if (known == prepared.end()) {
        seconds += costs.prepare;
        prepared.push_back(&*linear.choice);
      }
      seconds += costs.row * static_cast<double>(slot.shape[0]) + read_seconds(slot);
    }
    return seconds;
  }

  struct MatrixCosts {
    double prepare = 0, row = 0;  // seconds per input, per row
  };

  /// Measured once for each choice and number of columns, on a few rows of `linear`.
  const MatrixCosts& costs_of(const PlannedTensor& linear, bool calibrated) {
    const auto key = std::tuple(to_json(*linear.choice).dump(), linear.slot.shape[1], calibrated);
    const auto known = matrix_costs_.find(key);
    if (known != matrix_costs_.end()) return known->second;
    return matrix_costs_[key] = measure_matrix(linear, calibrated);
  }

  /// Columns beyond kProbeCols are extrapolated: a factor grows with their cube, a row with their
  /// square where errors are fed back and in proportion where not.
  MatrixCosts measure_matrix(const PlannedTensor& linear, bool calibrated) {
    const Slot& slot = linear.slot;
    const int64_t rows = std::min<int64_t>(slot.shape[0], kProbeRowsPerThread * ctx_.pool.size());
    const int64_t cols = std::min(slot.shape[1], kProbeCols);
    const AlignedBuffer<float> whole = load_matrix(slot, ctx_);
    std::vector<float> values(static_cast<size_t>(rows * cols));
    const Matrix<float> weight(values.data(), rows, cols);
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(whole.data() + r * slot.shape[1], cols, weight.row(r).data());
    }
    SecondMoment moment;
    if (calibrated) moment = corner_of(moments_.at(slot.shape[1]), cols);
    const SecondMoment* known = calibrated ? &moment : nullptr;
    std::shared_ptr<const PreparedInput> input;
    MatrixCosts costs;
    const double growth = static_cast<double>(slot.shape[1]) / static_cast<double>(cols);
    costs.prepare =
        growth * growth * growth * seconds_of([&] {
          input = prepare_input(*linear.choice,
                                {.moment = known, .weights = {weight}, .name = slot.input}, ctx_);
          solve(*linear.choice, *input, problem(slot, {weight.data, 1, cols}, known), ctx_);
        });
    const double taken =
        seconds_of([&] { solve(*linear.choice, *input, problem(slot, weight, known), ctx_); });
    costs.row = taken / static_cast<double>(rows) * (calibrated ? growth * growth : growth);
    return costs;
  }

  Problem problem(const Slot& slot, Matrix<const float> weight, const SecondMoment* moment) const {
    return {.weight = weight,
            .moment = moment,
            .seed = options_.seed,
            .input_name = slot.input,
            .matrix_name = slot.name};
  }

  static SecondMoment corner_of(const SecondMoment& moment, int64_t cols) {
    SecondMoment corner{.cols = cols, .tokens = moment.tokens, .h = {}, .mean_magnitude = {}};
    for (int64_t i = 0; i < cols; ++i) {
      const auto row = moment.h.begin() + i * moment.cols;
      corner.h.insert(corner.h.end(), row, row + cols);
    }
    if (!moment.mean_magnitude.empty()) {
      corner.mean_magnitude.assign(moment.mean_magnitude.begin(),
                                   moment.mean_magnitude.begin() + cols);
    }
    return corner;
  }

  /// Both models over the held-back tokens, through blocks and head.
  double score_seconds() {
    if (samples_ == nullptr) measure_blocks();
    constexpr double kTokens = 2048;
    const ModelConfig& c = source_.config;
    double seconds = 0;
    for (int layer = 0; layer < c.layers; ++layer) seconds += costs_of(layer).advance;
    const auto first = static_cast<double>(std::max<int64_t>(1, work_.block_weights.front()));
    seconds += costs_of(0).advance * static_cast<double>(c.vocab_size * c.hidden) / first;
    return 2 * seconds * kTokens / static_cast<double>(longest());
  }

  const ModelFiles& source_;
  const WorkPlan& work_;
  const CalibrationSamples* samples_;
  const QuantizeOptions& options_;
  const Context& ctx_;
  std::map<bool, BlockCosts> blocks_;        // without experts, with them
  std::map<int64_t, SecondMoment> moments_;  // of inputs, by their number of columns
  std::map<std::tuple<std::string, int64_t, bool>, MatrixCosts> matrix_costs_;
};

}  // namespace

Forecast forecast_quantization(const ModelFiles& source, const Recipe& recipe,
                               const QuantizeOptions& options, const Context& ctx) {
  const Clock::time_point start = Clock::now();
  const WorkPlan work = plan_work(source, recipe, options);
  const std::optional<CalibrationSamples> samples = read_samples(source, work, options, ctx);
  const double read = seconds_since(start);
  const CalibrationSamples* const known = samples ? &*samples : nullptr;
  const MemoryRequest request{.source = source,
                              .work = work,
                              .samples = known,
                              .score = options.score,
                              .true_sequential = options.true_sequential,
                              .threads = ctx.pool.size(),
                              .resident_bytes = resident_bytes()};
  const MemoryMode mode = choose_memory_mode(request, options.memory_bytes);
  MemoryNeed need = predict_memory(request, mode);
  Forecast forecast{.bytes = static_cast<int64_t>(weight_file_bytes(work.output)),
                    .peak_memory_bytes = need.bytes,
                    .peak_phase = std::move(need.phase)};
  forecast.disk_bytes = forecast.bytes;
  if (known != nullptr) {
    // Saved states, and those on their way to the next block.
    forecast.disk_bytes +=
        (mode.states_in_memory ? 2 : 3) *
        HiddenStates::bytes(std::ssize(known->windows) * std::ssize(known->windows.front()), 0,
                            source.config.hidden, true);
  }
  forecast.seconds = read + Estimator(source, work, known, options, ctx).seconds(mode);
  return forecast;
}

OrderedJson to_json(const Forecast& forecast) {
  return {{"bytes", forecast.bytes},
          {"peak_memory_bytes", forecast.peak_memory_bytes},
          {"peak_phase", forecast.peak_phase},
          {"disk_bytes", forecast.disk_bytes},
          {"seconds", forecast.seconds}};
}

}  // namespace twofold

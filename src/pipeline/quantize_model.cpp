#include "pipeline/quantize_model.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/clock.h"
#include "base/json.h"
#include "base/peak_memory.h"
#include "calib/filled_moment.h"
#include "kernels/int8_activations.h"
#include "pipeline/activation_rounding.h"
#include "pipeline/calibration_run.h"
#include "pipeline/dense_weights.h"
#include "pipeline/expert_counts.h"
#include "pipeline/memory_plan.h"
#include "pipeline/output_files.h"
#include "pipeline/phase_timer.h"
#include "pipeline/rate_plan.h"
#include "pipeline/report.h"
#include "pipeline/resume_state.h"
#include "pipeline/run_samples.h"
#include "pipeline/self_score.h"
#include "pipeline/solve_rows.h"
#include "pipeline/work_plan.h"
#include "pipeline/write_behind.h"
#include "tensor/ops.h"
#include "transform/transform_json.h"

namespace twofold {
namespace {

/// A run may spend this part of its time on points from which it can go on.
constexpr double kSaveShare = 0.05;

/// A matrix of a block that was quantized, for the block's runner.
struct Replacement {
  std::string slot;
  PackedMatrix packed;
  TransformSpec transform;
};

/// Pages of the source that a block has read.
void release_block(const ModelFiles& source, int layer) {
  for (const Slot& slot : source.slots) {
    if (slot.layer == layer) release_pages(slot.tensor->bytes);
  }
}

/// One run: what is being read, written and reported.
class Quantizer {
 public:
  Quantizer(const ModelFiles& source, const RatePlan& plan, const QuantizeOptions& options,
            const Context& ctx)
      : source_(source),
        plan_(plan),
        recipe_(plan.recipe),
        options_(options),
        ctx_(ctx),
        work_(plan_work(source, recipe_, options)),
        samples_(read_samples(source, work_, options, ctx)),
        mode_(choose_memory_mode({.source = source,
                                  .work = work_,
                                  .samples = samples_ ? &*samples_ : nullptr,
                                  .score = options.score,
                                  .true_sequential = options.true_sequential,
                                  .threads = ctx.pool.size(),
                                  .resident_bytes = resident_bytes()},
                                 options.memory_bytes)),
        folder_(options.output, options.force, OutputFolder::Leftover::kKeep),
        progress_(ctx, count_steps()) {
    report_.parameters = source.parameters();
    for (const size_t rule : work_.output.idle_rules) {
      ctx_.note(fmt::format("recipe: rule {} decides about no tensor of this model", rule));
    }
  }

  QuantizeReport run() {
    const bool resumed = resume();
    if (!resumed) start();
    try {
      // Those of the earlier run may be cut off, or the source's have changed since.
      if (resumed) write_companions(source_, folder_, ctx_);
      for (const PlannedBlock& block : work_.output.blocks) {
        quantize_block(block);
        save(block.layer);
      }
      calibration_.reset();
      writing_.finish();
      for (const PlannedTensor& tensor : work_.output.kept) keep(tensor);
      for (const TensorPlan& scale : work_.output.input_scales) {
        write_scale(input_scales_.at(scale.name));
      }
      finish();
    } catch (...) {
      keep_partial();
      throw;
    }
    return std::move(report_);
  }

 private:
  PhaseTimer timed(std::string_view phase) { return {report_.phases, phase}; }

  /// Steps of the progress that quantizing one matrix counts for: a step is one sample through one
  /// block, whose work grows with tokens x weights, that of a matrix [m, n] with m n^2 + n^3.
  int64_t steps_of(const PlannedTensor& tensor) const {
    const Slot& slot = tensor.slot;
    if (slot.layer < 0 || !samples_ || samples_->windows.empty()) return 1;
    const auto n = static_cast<double>(slot.shape[1]), m = static_cast<double>(slot.shape[0]);
    const auto pass = static_cast<double>(work_.block_weights[static_cast<size_t>(slot.layer)] *
                                          std::ssize(samples_->windows.front()));
    return std::max<int64_t>(1, static_cast<int64_t>((m + n) * n * n / pass));
  }

  /// What an earlier run did is not counted.
  int64_t count_steps() const {
    int64_t steps = work_.output.matrices();
    int64_t passes = 0;
    for (const PlannedBlock& block : work_.output.blocks) {
      for (const auto& stage : stages_of(block, mode_.stages)) {
        for (const PlannedInput& input : stage) {
          for (const PlannedTensor& linear : input.linears) {
            steps += is_done(linear) ? -1 : steps_of(linear) - 1;
          }
        }
        passes += work_.calibrated(without_done(stage)).empty() ? 0 : 1;
      }
    }
    if (!samples_) return steps;
    const int reached = calibration_ ? std::max(calibration_->states().layer(), 0) : 0;
    passes += std::max(work_.last_calibrated - reached, 0);
    return steps + passes * std::ssize(samples_->windows);
  }

  /// By an earlier run.
  bool is_done(const PlannedTensor& tensor) const { return done_.contains(tensor.slot.name); }
  bool is_done(const PlannedInput& input) const {
    return std::ranges::all_of(input.linears, [&](const auto& linear) { return is_done(linear); });
  }
  /// Inputs behind those that are done.
  std::span<const PlannedInput> without_done(std::span<const PlannedInput> stage) const {
    const auto open = std::ranges::find_if_not(stage, [&](const auto& i) { return is_done(i); });
    return stage.subspan(static_cast<size_t>(open - stage.begin()));
  }

  /// Takes over what an earlier run of the same work left. @return false if there is nothing.
  bool resume() {
    fingerprint_ =
        work_fingerprint(source_, recipe_, options_, samples_ ? &*samples_ : nullptr, ctx_);
    make_calibration();
    std::optional<ResumeState> state;
    try {
      state = read_resume_state(folder_.partial());
    } catch (const Error& error) {
      ctx_.note(fmt::format("{}: cannot go on: {}: starting anew", folder_.partial().string(),
                            error.what()));
    }
    if (!state) return false;
    if (!options_.resume || state->fingerprint != fingerprint_) {
      ctx_.note(fmt::format("{}: left by {}: starting anew", folder_.partial().string(),
                            options_.resume ? "a run with another model, text or other settings"
                                            : "an interrupted run"));
      return false;
    }
    drop_what_changed(*state);
    if (state->matrices.empty()) return false;
    state->rates = plan_;
    log_.emplace(folder_.partial(), *state);
    const int64_t total = count_steps();
    load_states(state->states);
    for (FinishedMatrix& matrix : state->matrices) take_over(matrix);
    for (const PlannedBlock& block : work_.output.blocks) {
      for (const PlannedInput& input : block.inputs) {
        if (is_done(input)) share_rounding(input);
      }
    }
    progress_.skip(total - count_steps());
    resumed_ = true;
    ctx_.note(fmt::format("{}: going on after {} of {} matrices", folder_.partial().string(),
                          log_->matrices(), planned_matrices()));
    return true;
  }

  /// Opens the weight file behind those matrices that are still as they were written.
  void drop_what_changed(ResumeState& state) {
    const std::vector<TensorPlan> plan = work_.output.stored();
    std::vector<std::string> hashes;
    for (const FinishedMatrix& matrix : state.matrices) {
      if (hashes.size() == plan.size() || plan[hashes.size()].name != matrix.row.name) break;
      hashes.push_back(matrix.sha256);
    }
    weights_.emplace(folder_.partial(), plan, weight_metadata(), hashes);
    const size_t intact = std::min(weights_->written(), hashes.size());
    if (intact == state.matrices.size()) return;
    ctx_.note(fmt::format("{}: {} has changed since it was written: {}", folder_.partial().string(),
                          state.matrices[intact].row.name,
                          intact == 0 ? "starting anew" : "going on before it"));
    state.matrices.resize(intact);
    if (state.matrices_before_states > intact) state.states = {};
  }

  /// Without them the samples go through the finished blocks once more.
  void load_states(const SavedStates& saved) {
    if (saved.layer < 0 || !calibration_) return;
    try {
      calibration_->states().load(saved.layer, saved.sha256);
    } catch (const Error& error) {
      ctx_.note(fmt::format("{}: making the hidden states again", error.what()));
    }
  }

  void take_over(FinishedMatrix& matrix) {
    const std::string& name = matrix.row.name;
    done_.emplace(name, done_.size());
    stored_[name] = std::move(matrix.stored);
    if (!matrix.input_scale.empty()) {
      const StoredTransform transform = transform_from_json(stored_[name].at("transform"), name);
      input_scales_[transform.input_scale_tensor] = std::move(matrix.input_scale);
    }
    if (matrix.input) add_input(std::move(*matrix.input));
    report_.matrices.push_back(std::move(matrix.row));
    report_.phases = std::move(matrix.phases);
    earlier_seconds_ = matrix.seconds;
  }

  /// Number of matrices that are quantized.
  int64_t planned_matrices() const {
    int64_t count = 0;
    for (const PlannedBlock& block : work_.output.blocks) {
      for (const PlannedInput& input : block.inputs) count += std::ssize(input.linears);
    }
    return count;
  }

  /// After an error: what is finished stays, unless doing it again takes a moment.
  void keep_partial() {
    writing_.settle();
    std::error_code ignored;
    if (!log_ || log_->matrices() == 0 ||
        !std::filesystem::exists(folder_.file(kResumeFile), ignored)) {
      return;
    }
    if (!resumed_ && seconds_since(start_) < options_.save_interval_seconds) return;
    folder_.keep_partial();
    ctx_.note(fmt::format("{} keeps {} of {} matrices: the same command goes on there",
                          folder_.partial().string(), log_->matrices(), planned_matrices()));
  }

  void make_calibration() {
    if (!samples_) return;
    calibration_.emplace(source_, *samples_, folder_.partial(), mode_.states_in_memory);
  }

  void start() {
    folder_.clear();
    if (calibration_) make_calibration();
    write_companions(source_, folder_, ctx_);  // first: it may find the source wanting
    weights_.emplace(folder_.partial(), work_.output.stored(), weight_metadata());
    log_.emplace(folder_.partial(), ResumeState{.fingerprint = fingerprint_, .rates = plan_});
  }

  /// Keeps the hidden states after block `layer`, unless that was done a moment ago or they are not
  /// needed any more.
  void save(int layer) {
    if (layer < 0 || !calibration_ || calibration_->states().layer() <= layer) return;
    const double pause = std::max(options_.save_interval_seconds, save_seconds_ / kSaveShare);
    if (options_.save_interval_seconds > 0 && seconds_since(last_save_) < pause) return;
    const PhaseTimer timer = timed("save");
    const Clock::time_point start = Clock::now();
    writing_.finish();
    HiddenStates& states = calibration_->states();
    const std::string sha256 = states.save();
    log_->add(SavedStates{.layer = states.layer(), .sha256 = sha256});
    states.remove_old_files();
    save_seconds_ = seconds_since(start);
    last_save_ = Clock::now();
  }

  void say(int layer, std::string_view phase) {
    progress_.phase(samples_ && layer >= 0
                        ? fmt::format("block {} of {}: {}", layer + 1, source_.config.layers, phase)
                        : std::string("quantize"));
  }

  void quantize_block(const PlannedBlock& block) {
    if (block.layer >= 0 && block.layer <= work_.last_calibrated) {
      return quantize_calibrated(block);
    }
    if (block.layer < 0) return quantize_tables(block);
    say(block.layer, "quantize");
    for (const PlannedInput& input : block.inputs) {
      if (is_done(input)) continue;
      if (!std::ranges::all_of(input.linears, by_rows)) {
        quantize_input(input, nullptr, nullptr);
        continue;
      }
      for (const PlannedTensor& linear : input.linears) {
        if (!is_done(linear)) quantize_rows(linear);
      }
      share_rounding(input);
    }
    release_block(source_, block.layer);
  }

  void quantize_calibrated(const PlannedBlock& block) {
    const bool last = block.layer == work_.last_calibrated;
    if (std::ranges::all_of(block.inputs, [&](const auto& input) { return is_done(input); }) &&
        (last || calibration_->states().layer() > block.layer)) {
      return;
    }
    reach(block.layer);
    BlockRunner runner(source_, block.layer);
    std::vector<Replacement> done;
    const auto replace = [&] {
      for (const Replacement& linear : done) {
        runner.replace(linear.slot, linear.packed, linear.transform);
      }
      done.clear();
    };
    Moments wider;  // of inputs that stand in for those of experts
    for (const auto& stage : stages_of(block, mode_.stages)) {
      const auto open = without_done(stage);
      for (const PlannedInput& input : stage.first(stage.size() - open.size())) {
        for (const PlannedTensor& linear : input.linears) done.push_back(read_back(linear));
      }
      Moments moments = observe(runner, block.layer, open, wider);
      say(block.layer, "quantize");
      for (const PlannedInput& input : open) {
        const auto moment = moments.find(input.name);
        if (moment == moments.end()) {
          quantize_input(input, nullptr, &done);
          continue;
        }
        add_input(report_of(input.name, moment->second));
        if (input.expert >= 0) fill_moment(input, moment->second, wider);
        quantize_input(input, &moment->second, &done);
        moments.erase(moment);
      }
      if (options_.true_sequential) replace();
    }
    replace();
    if (!last) advance(runner, block.layer);
    release_block(source_, block.layer);
  }

  using Moments = std::map<std::string, CollectedMoment>;

  /// Collects what a stage needs; what stands in for experts goes to `wider`, if it is not there.
  Moments observe(const BlockRunner& runner, int layer, std::span<const PlannedInput> stage,
                  Moments& wider) {
    auto inputs = work_.calibrated(stage);
    std::erase_if(inputs, [&](const auto& input) { return wider.contains(input.first); });
    if (inputs.empty()) return {};
    say(layer, "observe");
    const PhaseTimer timer = timed("observe");
    Moments moments = calibration_->observe(runner, inputs, progress_, ctx_);
    for (const PlannedInput& input : stage) {
      const auto found = moments.find(input.wider);
      if (found == moments.end() || wider.contains(input.wider)) continue;
      if (std::ranges::count(stage, input.wider, &PlannedInput::name) > 0) {
        wider.insert(*found);
      } else {
        wider.insert(moments.extract(found));
      }
    }
    return moments;
  }

  /// An expert that few tokens reached is calibrated by those of all experts besides.
  static void fill_moment(const PlannedInput& input, CollectedMoment& collected,
                          const Moments& wider) {
    if (!has_few_tokens(collected.moment)) return;
    collected.note = few_tokens_note(input, collected.moment.tokens);
    const auto stand_in = wider.find(input.wider);
    fill_up(collected.moment, stand_in == wider.end() ? nullptr : &stand_in->second.moment);
    if (collected.sample.empty() && stand_in != wider.end()) {
      collected.sample = stand_in->second.sample;
    }
  }

  void advance(const BlockRunner& runner, int layer) {
    say(layer, "advance");
    const PhaseTimer timer = timed("advance");
    calibration_->advance(runner, progress_, ctx_);
  }

  /// Moves the samples to block `layer`, through blocks of which nothing is quantized.
  void reach(int layer) {
    HiddenStates& states = calibration_->states();
    if (states.layer() < 0) {
      const PhaseTimer timer = timed("embed");
      calibration_->embed(progress_, ctx_);
    }
    while (states.layer() < layer) {
      const int passed = states.layer();
      advance(BlockRunner(source_, passed), passed);
      release_block(source_, passed);
    }
  }

  /// What an earlier run made of a matrix.
  Replacement read_back(const PlannedTensor& tensor) {
    const OrderedJson& stored = stored_.at(tensor.slot.name);
    const std::string where = folder_.file(kResumeFile).string();
    TransformSpec transform = transform_from_json(stored.at("transform"), where).spec;
    const auto scale = input_scales_.find(tensor.input_scale);
    if (scale != input_scales_.end()) transform.input_scale = scale->second;
    return {tensor.slot.slot,
            open_packed(tensor.format, tensor.slot.shape[0], tensor.slot.shape[1],
                        weights_->read(done_.find(tensor.slot.name)->second), tensor.slot.name),
            std::move(transform)};
  }

  /// Matrices that read one input, with its moment if it was collected. With `replacements` what
  /// was packed is kept there. What an earlier run finished takes part in preparing the others.
  void quantize_input(const PlannedInput& input, const CollectedMoment* collected,
                      std::vector<Replacement>* replacements) {
    const SecondMoment* moment = collected != nullptr ? &collected->moment : nullptr;
    std::vector<AlignedBuffer<float>> weights;
    std::vector<Matrix<const float>> views;
    {
      const PhaseTimer timer = timed("read");
      for (const PlannedTensor& linear : input.linears) {
        const int64_t rows = linear.slot.shape[0], cols = linear.slot.shape[1];
        weights.push_back(load_matrix(linear.slot, ctx_));
        views.emplace_back(weights.back().data(), rows, cols);
      }
    }
    std::vector<std::pair<const MethodChoice*, std::shared_ptr<const PreparedInput>>> prepared;
    for (size_t i = 0; i < views.size(); ++i) {
      const Clock::time_point start = Clock::now();
      const PlannedTensor& linear = input.linears[i];
      if (is_done(linear)) {
        if (replacements != nullptr) replacements->push_back(read_back(linear));
        continue;
      }
      const MethodChoice& choice = *linear.choice;
      auto shared =
          std::ranges::find_if(prepared, [&](const auto& p) { return *p.first == choice; });
      if (shared == prepared.end()) {
        const PhaseTimer timer = timed("prepare");
        InputProblem problem{
            .moment = moment, .weights = {}, .seed = options_.seed, .name = input.name};
        for (size_t j = 0; j < views.size(); ++j) {
          if (*input.linears[j].choice == choice) problem.weights.push_back(views[j]);
        }
        prepared.emplace_back(&choice, prepare_input(choice, problem, ctx_));
        shared = prepared.end() - 1;
      }
      quantize(linear, views[i], collected, shared->second.get(), start, replacements);
      weights[i] = {};
    }
    share_rounding(input);
  }

  /// Matrices that read one input multiply the same rounded activations: the finest rounding serves
  /// all of them.
  void share_rounding(const PlannedInput& input) {
    ActivationRounding finest;
    for (const PlannedTensor& linear : input.linears) {
      const ActivationRounding own = stored_rounding(stored_[linear.slot.name]);
      finest.block = std::min(finest.block, own.block);
      finest.digits = std::max(finest.digits, own.digits);
    }
    if (finest.digits > 1) finest.block = kActivationBlock;
    for (const PlannedTensor& linear : input.linears) {
      store_rounding(finest, stored_[linear.slot.name]);
    }
  }

  /// Tables and head: none of them shares an input with another.
  void quantize_tables(const PlannedBlock& block) {
    say(block.layer, "quantize");
    for (const PlannedInput& input : block.inputs) {
      for (const PlannedTensor& table : input.linears) {
        if (is_done(table)) continue;
        if (by_rows(table)) {
          quantize_rows(table);
          release_pages(table.slot.tensor->bytes);
          continue;
        }
        const Clock::time_point start = Clock::now();
        const AlignedBuffer<float> weight = load_matrix(table.slot, ctx_);
        release_pages(table.slot.tensor->bytes);
        quantize(table, {weight.data(), table.slot.shape[0], table.slot.shape[1]}, nullptr, nullptr,
                 start, nullptr);
      }
    }
  }

  /// Of a matrix without a moment.
  static bool by_rows(const PlannedTensor& tensor) {
    return rows_are_independent(*tensor.choice, tensor.slot.shape[1]);
  }

  void quantize_rows(const PlannedTensor& tensor) {
    const Clock::time_point start = Clock::now();
    PackedSolution solution = [&] {
      const PhaseTimer timer = timed("solve");
      return solve_by_rows(*tensor.choice, tensor.slot, options_.seed, ctx_);
    }();
    store(tensor, solution, nullptr, start);
  }

  /// @param input null: prepared for this matrix alone.
  void quantize(const PlannedTensor& tensor, Matrix<const float> weight,
                const CollectedMoment* collected, const PreparedInput* input,
                Clock::time_point start, std::vector<Replacement>* replacements) {
    const Slot& slot = tensor.slot;
    const Problem problem{.weight = weight,
                          .moment = collected != nullptr ? &collected->moment : nullptr,
                          .seed = options_.seed,
                          .input_name = slot.input,
                          .matrix_name = slot.name,
                          .known_finite = true};  // load_matrix did
    Solution solution = [&] {
      const PhaseTimer timer = timed("solve");
      return input != nullptr ? solve(*tensor.choice, *input, problem, ctx_)
                              : solve(*tensor.choice, problem, ctx_);
    }();
    PackedSolution done = pack_solution(std::move(solution), ctx_.pool);
    store(tensor, done, collected, start);
    if (replacements != nullptr) {
      replacements->push_back({slot.slot, std::move(done.packed), std::move(done.transform)});
    }
  }

  ActivationRounding rounding_of(const PlannedTensor& tensor, const PackedSolution& done,
                                 const CollectedMoment* collected) const {
    if (collected == nullptr || collected->sample.empty()) {
      return choose_activation_rounding(done.packed.format, tensor.slot.role, done.proxy_loss);
    }
    const int64_t cols = tensor.slot.shape[1];
    const std::vector<float>& sample = collected->sample;
    return choose_activation_rounding(done.packed, done.transform,
                                      {sample.data(), std::ssize(sample) / cols, cols},
                                      done.proxy_loss, ctx_);
  }

  /// Writes a matrix and its row of the report.
  void store(const PlannedTensor& tensor, PackedSolution& done, const CollectedMoment* collected,
             Clock::time_point start) {
    const Slot& slot = tensor.slot;
    const PackedMatrix& packed = done.packed;
    const TransformSpec& transform = done.transform;
    TWOFOLD_ASSERT(packed.format.name == tensor.format.name);
    const bool first_use = input_scales_.emplace(tensor.input_scale, transform.input_scale).second;
    OrderedJson& stored =
        stored_[slot.name] = {{"format", packed.format.name},
                              {"shape", slot.shape},
                              {"transform", transform_to_json(transform, tensor.input_scale)}};
    store_rounding(rounding_of(tensor, done, collected), stored);
    MatrixReport row = row_of(tensor, start);
    row.bytes = static_cast<int64_t>(packed.bytes.view.bytes.size());
    if (first_use) row.bytes += find_transform(transform.name).stored_bytes(transform);
    row.proxy_loss = done.proxy_loss;
    row.explore_seconds = done.explore_seconds;
    row.notes = std::move(done.notes);
    if (collected != nullptr && !collected->note.empty()) row.notes.push_back(collected->note);
    report_.matrices.push_back(row);
    writing_.write(*weights_, *log_, packed,
                   {.row = std::move(row),
                    .stored = stored,
                    .input_scale = first_use ? transform.input_scale : std::vector<float>(),
                    .input = collected != nullptr ? std::optional(inputs_.back()) : std::nullopt,
                    .phases = report_.phases,
                    .seconds = earlier_seconds_ + seconds_since(start_)});
    progress_.step(steps_of(tensor));
  }

  static InputReport report_of(const std::string& name, const CollectedMoment& collected) {
    const SecondMoment& moment = collected.moment;
    InputReport input{
        .name = name, .tokens = moment.tokens, .dropped = collected.dropped, .dead = 0};
    for (int64_t j = 0; j < moment.cols && moment.tokens > 0; ++j) {
      input.dead += moment.h[static_cast<size_t>(j * moment.cols + j)] == 0 ? 1 : 0;
    }
    return input;
  }

  /// An input of which an earlier run finished some matrices is there already.
  void add_input(InputReport input) {
    if (inputs_.empty() || inputs_.back().name != input.name) inputs_.push_back(std::move(input));
  }

  void keep(const PlannedTensor& tensor) {
    ctx_.check_cancelled();
    const Clock::time_point start = Clock::now();
    write_dense(tensor.slot, tensor.stored.dtype, *weights_, ctx_);
    release_pages(tensor.slot.tensor->bytes);
    if (tensor.slot.shape.size() != 2) return;
    MatrixReport row = row_of(tensor, start);
    row.bytes = row.rows * row.cols * static_cast<int64_t>(dtype_info(tensor.stored.dtype).bytes);
    row.proxy_loss = 0;
    report_.matrices.push_back(std::move(row));
    progress_.step();
  }

  /// Numbers that binary16 holds exactly.
  void write_scale(const std::vector<float>& scale) {
    std::vector<uint16_t> bits(scale.size());
    ops(ctx_.isa).f32_to_f16(scale.data(), bits.data(), static_cast<int64_t>(bits.size()));
    weights_->write(std::as_bytes(std::span(bits)));
  }

  static MatrixReport row_of(const PlannedTensor& tensor, Clock::time_point start) {
    MatrixReport row;
    row.name = tensor.slot.name;
    row.rows = tensor.slot.shape[0];
    row.cols = tensor.slot.shape[1];
    row.quantized = tensor.choice.has_value();
    row.method = row.quantized ? tensor.choice->method : std::string(kKeepMethod);
    if (row.quantized) row.parameters = to_json(*tensor.choice);
    row.format = tensor.format.name;
    row.seconds = seconds_since(start);
    return row;
  }

  void report_calibration() {
    if (!samples_) return;
    const CalibrationOptions options = options_.calibration.value_or(CalibrationOptions{});
    CalibrationReport& calibration = report_.calibration.emplace();
    calibration.source = samples_->source;
    calibration.text_sha256 = samples_->text_sha256;
    calibration.samples = std::ssize(samples_->windows);
    calibration.context = samples_->windows.empty() ? 0 : std::ssize(samples_->windows.front());
    calibration.sampling =
        std::ranges::find(all_samplings(), options.sampling, &SamplingMode::sampling)->name;
    calibration.true_sequential = options_.true_sequential;
    calibration.inputs = std::move(inputs_);
    note_inputs();
  }

  void finish() {
    weights_->finish();
    report_.bytes = static_cast<int64_t>(weights_->total_bytes());
    report_calibration();
    complete_figures(report_);
    OrderedJson config(source_.config_json);
    OrderedJson& quantization = config["quantization_config"] = OrderedJson::object();
    quantization["quant_method"] = "twofold";
    quantization["format_version"] = kFolderFormatVersion;
    quantization["untied_head"] = work_.output.untied_head;
    quantization["recipe"] = to_json(recipe_);
    quantization["tensors"] = std::move(stored_);
    write_config(config, folder_);
    open_model(folder_.partial());  // what was written must read back
    if (options_.score) score();
    report_.seconds = earlier_seconds_ + seconds_since(start_);
    report_.peak_memory_bytes = peak_memory_bytes().value_or(0);
    write_text_file(folder_.file(kReportFile),
                    dump_json(report_json(report_, source_, options_, ctx_)));
    ctx_.check_cancelled();
    folder_.commit();
    remove_working_files();  // only now: until here the run can be gone on with
  }

  void score() {
    const PhaseTimer timer = timed("score");
    std::optional<CalibrationSamples> samples = samples_ ? samples_ : builtin_held_back(source_);
    if (samples) report_.score = score_result(source_, folder_.partial(), *samples, ctx_);
    if (!report_.score) {
      report_.notes.push_back(samples ? "not scored: the text holds nothing beyond the samples"
                                      : "not scored: the source has no tokenizer");
      return;
    }
    const std::string warning = broken_warning(*report_.score);
    if (!warning.empty()) report_.notes.push_back(warning);
  }

  /// What calibration met that is out of the ordinary.
  void note_inputs() {
    const std::vector<InputReport>& inputs = report_.calibration->inputs;
    const std::string experts = few_tokens_warning(work_.output, inputs);
    if (!experts.empty()) report_.notes.push_back(experts);
    for (const InputReport& input : inputs) {
      if (input.tokens == 0) {
        if (!experts.empty()) continue;  // it is in the list
        report_.notes.push_back(fmt::format("{}: no calibration token reached it", input.name));
      } else if (input.dead > 0) {
        report_.notes.push_back(fmt::format("{}: {} inputs are always 0", input.name, input.dead));
      }
      if (input.dropped > 0) {
        report_.notes.push_back(
            fmt::format("{}: {} tokens were not finite and left out", input.name, input.dropped));
      }
    }
  }

  /// What only an unfinished folder needs, out of the finished one.
  void remove_working_files() {
    std::error_code ignored;  // a left file does no harm
    std::filesystem::remove(options_.output / kResumeFile, ignored);
    HiddenStates::remove_files(options_.output);
  }

  Clock::time_point start_ = Clock::now(), last_save_ = start_;
  double earlier_seconds_ = 0;  // of the interrupted run
  double save_seconds_ = 0;     // of the last time
  const ModelFiles& source_;
  const RatePlan& plan_;
  const Recipe& recipe_;
  const QuantizeOptions& options_;
  const Context& ctx_;
  WorkPlan work_;
  std::optional<CalibrationSamples> samples_;
  MemoryMode mode_;
  OutputFolder folder_;
  std::optional<CalibrationRun> calibration_;
  std::map<std::string, size_t> done_;  // matrices of an earlier run, places in the weight file
  Progress progress_;
  std::string fingerprint_;
  std::optional<SafetensorsWriter> weights_;
  std::optional<ResumeLog> log_;
  WriteBehind writing_;                                     // to weights_ and log_
  OrderedJson stored_ = OrderedJson::object();              // "tensors" of the configuration
  std::map<std::string, std::vector<float>> input_scales_;  // of transforms, by tensor
  std::vector<InputReport> inputs_;
  QuantizeReport report_;
  bool resumed_ = false;
};

void check_request(const ModelFiles& source, const QuantizeOptions& options) {
  if (source.is_quantized()) {
    fail(ErrorCode::kUnsupported, source.path.string(),
         "expected a model with its own weights, found one that is quantized already");
  }
  check_output_place(source, options.output, options.force);
}

}  // namespace

QuantizeReport quantize_model(const ModelFiles& source, const Recipe& recipe,
                              const QuantizeOptions& options, const Context& ctx) {
  check_request(source, options);
  const RatePlan plan = find_rates(source, recipe, options, ctx);
  if (has_mean_bits(recipe)) ctx.note(summary(plan));
  return quantize_model(source, plan, options, ctx);
}

QuantizeReport quantize_model(const ModelFiles& source, const RatePlan& plan,
                              const QuantizeOptions& options, const Context& ctx) {
  check_request(source, options);
  return Quantizer(source, plan, options, ctx).run();
}

}  // namespace twofold

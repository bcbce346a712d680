#include "pipeline/rate_plan.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "engine/model.h"
#include "io/file.h"
#include "pipeline/calibration_run.h"
#include "pipeline/dense_weights.h"
#include "pipeline/memory_plan.h"
#include "pipeline/resume_state.h"
#include "pipeline/run_samples.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

/// The folder of hidden states that do not fit into memory, while the plan is made.
class StatesFolder {
 public:
  /// @param needed otherwise there is none.
  StatesFolder(std::filesystem::path output, bool needed) {
    if (!needed) return;
    path_ = std::move(output);
    path_ += ".plan";
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~StatesFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  StatesFolder(const StatesFolder&) = delete;
  StatesFolder& operator=(const StatesFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The float model's answers to some calibration tokens, and how far others are from them.
class Divergence {
 public:
  Divergence(const ModelFiles& source, const CalibrationSamples& samples, const Context& ctx)
      : model_(Model::load(source.path)), ctx_(ctx) {
    const int64_t window = std::ssize(samples.windows.front());
    length_ = std::min(window, kRateTokens);
    const int64_t count = std::min<int64_t>(std::ssize(samples.windows), kRateTokens / length_);
    stream_.ensure(static_cast<size_t>(count * length_ * hidden()));
    for (int64_t i = 0; i < count; ++i) {
      const auto ids = std::span(samples.windows[static_cast<size_t>(i)]);
      embed_sequence(source, ids.first(static_cast<size_t>(length_)),
                     {stream_.data() + i * length_ * hidden(), length_, hidden()}, ctx_);
    }
    tokens_ = count * length_;
    changed_.ensure(stream_.size());
    logits_.ensure(static_cast<size_t>(tokens_ * vocab()));
    answers_.ensure(logits_.size());
    answer(0, stream_, answers_);
  }

  /// What enters the block that is looked at, [tokens, hidden].
  Matrix<float> stream() { return {stream_.data(), tokens_, hidden()}; }
  /// Of the whole model with this block, in nats per token.
  double of(const BlockRunner& block, int layer) {
    std::copy_n(stream_.data(), stream_.size(), changed_.data());
    run(block, {changed_.data(), tokens_, hidden()});
    answer(layer + 1, changed_, logits_);
    const Ops& op = ops(ctx_.isa);
    double sum = 0;
    for (int64_t t = 0; t < tokens_; ++t) {
      sum += op.kl_divergence(answers_.data() + t * vocab(), logits_.data() + t * vocab(), vocab());
    }
    return std::max(sum / static_cast<double>(tokens_), 0.0);
  }
  /// Goes on to the next block.
  void advance(const BlockRunner& block) { run(block, stream()); }

 private:
  int64_t hidden() const { return model_->config().hidden; }
  int64_t vocab() const { return model_->config().vocab_size; }

  void run(const BlockRunner& block, Matrix<float> stream) const {
    for (int64_t t = 0; t < tokens_; t += length_) {
      block.run({stream.data + t * stream.stride, length_, hidden()}, ctx_);
    }
  }

  /// Log-probabilities [tokens, vocab] of a stream that enters block `layer`.
  void answer(int layer, const AlignedBuffer<float>& stream, AlignedBuffer<float>& out) {
    AlignedBuffer<float> end(stream.size());
    std::copy_n(stream.data(), stream.size(), end.data());
    const Matrix<float> x(end.data(), tokens_, hidden());
    model_->forward_from(layer, x, length_, ctx_);
    model_->logits(x, {out.data(), tokens_, vocab()}, ctx_);
    const Ops& op = ops(ctx_.isa);
    for (int64_t t = 0; t < tokens_; ++t) {
      float* row = out.data() + t * vocab();
      const float log_sum = op.log_sum_exp(row, vocab());
      for (int64_t i = 0; i < vocab(); ++i) row[i] -= log_sum;
    }
  }

  std::shared_ptr<const Model> model_;
  const Context& ctx_;
  int64_t length_ = 0, tokens_ = 0;
  AlignedBuffer<float> stream_, changed_;  // [tokens, hidden]
  AlignedBuffer<float> logits_, answers_;  // [tokens, vocab]
};

/// Measures the matrices of rules with fractional bits, block by block.
class Rater {
 public:
  Rater(const ModelFiles& source, const Recipe& recipe, const QuantizeOptions& options,
        const Context& ctx)
      : source_(source), recipe_(recipe), options_(options), ctx_(ctx) {
    if (!options_.calibration) options_.calibration.emplace();
  }

  /// Matrices of each rule, in the order of the model.
  std::map<size_t, std::vector<RatedMatrix>> run() {
    const WorkPlan work = plan_work(source_, with_lower_bits(recipe_), options_);
    for (const PlannedBlock& block : work.output.blocks) {
      if (block.layer < 0) refuse_tables(block);
    }
    std::optional<CalibrationSamples> samples = read_samples(source_, work, options_, ctx_);
    if (!samples) return {};
    const MemoryMode mode = choose_memory_mode({.source = source_,
                                                .work = work,
                                                .samples = &*samples,
                                                .threads = ctx_.pool.size(),
                                                .resident_bytes = resident_bytes()},
                                               options_.memory_bytes);
    const StatesFolder folder(options_.output, !mode.states_in_memory);
    Divergence divergence(source_, *samples, ctx_);
    Progress progress(ctx_, count_steps(work, mode.stages, std::ssize(samples->windows)));
    CalibrationRun calibration(source_, std::move(*samples), folder.path(), mode.states_in_memory);
    calibration.embed(progress, ctx_);
    for (int layer = 0; layer <= work.last_calibrated; ++layer) {
      progress.phase(fmt::format("rates, block {} of {}", layer + 1, source_.config.layers));
      const auto planned = std::ranges::find(work.output.blocks, layer, &PlannedBlock::layer);
      BlockRunner runner(source_, layer);
      if (planned != work.output.blocks.end()) {
        for (const auto& stage : stages_of(*planned, mode.stages)) {
          const auto moments = calibration.observe(runner, work.calibrated(stage), progress, ctx_);
          for (const PlannedInput& input : stage) {
            rate(input, moments.at(input.name).moment, divergence);
            progress.step(std::ssize(input.linears));
          }
        }
      }
      if (layer < work.last_calibrated) calibration.advance(runner, progress, ctx_);
      divergence.advance(runner);
    }
    return std::move(rated_);
  }

 private:
  static int64_t count_steps(const WorkPlan& work, StageSize stages, int64_t windows) {
    int64_t steps = work.last_calibrated * windows;
    for (const PlannedBlock& block : work.output.blocks) {
      if (block.layer < 0) continue;
      steps += std::ssize(stages_of(block, stages)) * windows;
      for (const PlannedInput& input : block.inputs) steps += std::ssize(input.linears);
    }
    return steps;
  }

  bool is_rated(const PlannedTensor& tensor) const {
    const std::optional<size_t> rule = deciding_rule(recipe_, tensor.slot);
    return rule && recipe_.rules[*rule].mean_bits;
  }

  void refuse_tables(const PlannedBlock& block) const {
    for (const PlannedInput& input : block.inputs) {
      for (const PlannedTensor& table : input.linears) {
        if (!is_rated(table)) continue;
        fail(ErrorCode::kInvalidArgument, table.slot.name,
             "fractional bits need second moments, which are collected inside blocks only; "
             "expected whole bits or keep");
      }
    }
  }

  /// A matrix that another method takes, which has neither rate, gains nothing from more bits.
  bool same_at_the_higher_rate(const PlannedTensor& linear) const {
    const RecipeRule& rule = recipe_.rules[*deciding_rule(recipe_, linear.slot)];
    MethodRequest higher = rule.request;
    higher.bits = static_cast<int>(std::floor(*rule.mean_bits)) + 1;
    const std::vector<int64_t>& shape = linear.slot.shape;
    return choose_method(higher, shape[0], shape[1]).bits == linear.choice->bits;
  }

  void rate(const PlannedInput& input, const SecondMoment& moment, Divergence& divergence) {
    for (const PlannedTensor& linear : input.linears) {
      if (!is_rated(linear)) continue;
      const Slot& slot = linear.slot;
      const int64_t rows = slot.shape[0], cols = slot.shape[1];
      if (same_at_the_higher_rate(linear)) continue;
      const AlignedBuffer<float> weights = load_matrix(slot, ctx_);
      AlignedBuffer<float> changed(weights.size());
      const Problem problem{.weight = {weights.data(), rows, cols},
                            .moment = &moment,
                            .seed = options_.seed,
                            .input_name = slot.input,
                            .matrix_name = slot.name,
                            .known_finite = true};
      const double distortion = std::ldexp(1.0, -2 * linear.choice->bits);
      add_expected_error(*linear.choice, problem, distortion, ctx_, {changed.data(), rows, cols});
      BlockRunner block(source_, slot.layer);
      block.replace(slot.slot, pack_dense(parse_format("f32"), {changed.data(), rows, cols}), {});
      rated_[*deciding_rule(recipe_, slot)].push_back(
          {.name = slot.name,
           .weights = rows * cols,
           .divergence = divergence.of(block, slot.layer)});
    }
  }

  const ModelFiles& source_;
  const Recipe& recipe_;
  QuantizeOptions options_;
  const Context& ctx_;
  std::map<size_t, std::vector<RatedMatrix>> rated_;
};

}  // namespace

void share_bits(double mean, std::vector<RatedMatrix>& matrices) {
  const int low = static_cast<int>(std::floor(mean));
  int64_t all = 0;
  for (RatedMatrix& matrix : matrices) {
    matrix.bits = low;
    all += matrix.weights;
  }
  std::vector<size_t> order(matrices.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto gain = [&](size_t i) {
    return matrices[i].divergence / static_cast<double>(matrices[i].weights);
  };
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return gain(a) > gain(b); });
  double left = (mean - low) * static_cast<double>(all);
  for (const size_t i : order) {
    const auto weights = static_cast<double>(matrices[i].weights);
    if (weights > left) continue;
    left -= weights;
    matrices[i].bits = low + 1;
  }
}

Recipe with_lower_bits(Recipe recipe) {
  for (RecipeRule& rule : recipe.rules) {
    if (!rule.mean_bits) continue;
    rule.request.bits = static_cast<int>(std::floor(*rule.mean_bits));
    rule.mean_bits.reset();
  }
  return recipe;
}

bool has_mean_bits(const Recipe& recipe) {
  return std::ranges::any_of(recipe.rules,
                             [](const auto& rule) { return rule.mean_bits.has_value(); });
}

RatePlan plan_rates(const ModelFiles& source, const Recipe& recipe, const QuantizeOptions& options,
                    const Context& ctx) {
  std::map<size_t, std::vector<RatedMatrix>> rated = Rater(source, recipe, options, ctx).run();
  RatePlan plan;
  for (size_t i = 0; i < recipe.rules.size(); ++i) {
    const RecipeRule& rule = recipe.rules[i];
    if (!rule.mean_bits) {
      plan.recipe.rules.push_back(rule);
      continue;
    }
    share_bits(*rule.mean_bits, rated[i]);
    RecipeRule low = rule;
    low.mean_bits.reset();
    low.request.bits = static_cast<int>(std::floor(*rule.mean_bits));
    RecipeRule high = low;
    *high.request.bits += 1;
    for (const RatedMatrix& matrix : rated[i]) {
      if (matrix.bits == *high.request.bits) high.names.push_back(matrix.name);
    }
    if (!high.names.empty()) plan.recipe.rules.push_back(std::move(high));
    plan.recipe.rules.push_back(std::move(low));
    plan.matrices.insert(plan.matrices.end(), rated[i].begin(), rated[i].end());
  }
  return plan;
}

namespace {

/// Hash of all that a plan depends on.
std::string plan_fingerprint(const ModelFiles& source, const Recipe& recipe,
                             QuantizeOptions options, const Context& ctx) {
  if (!options.calibration) options.calibration.emplace();
  const WorkPlan work = plan_work(source, with_lower_bits(recipe), options);
  const std::optional<CalibrationSamples> samples = read_samples(source, work, options, ctx);
  return work_fingerprint(source, recipe, options, samples ? &*samples : nullptr, ctx);
}

OrderedJson to_json(const RatedMatrix& matrix) {
  return {{"name", matrix.name},
          {"weights", matrix.weights},
          {"divergence", matrix.divergence},
          {"bits", matrix.bits}};
}

}  // namespace

RatePlan find_rates(const ModelFiles& source, const Recipe& recipe, const QuantizeOptions& options,
                    const Context& ctx) {
  if (!has_mean_bits(recipe)) return {.recipe = recipe};
  const std::string fingerprint = plan_fingerprint(source, recipe, options, ctx);
  const std::filesystem::path left = OutputFolder::partial_of(options.output);
  try {
    std::optional<ResumeState> state;
    if (options.resume) state = read_resume_state(left);
    if (state && state->rates.fingerprint == fingerprint) {
      ctx.note(fmt::format("{}: the rates are planned already", left.string()));
      return std::move(state->rates);
    }
  } catch (const Error& error) {
    ctx.note(fmt::format("{}: planning the rates anew: {}", left.string(), error.what()));
  }
  RatePlan plan = plan_rates(source, recipe, options, ctx);
  plan.fingerprint = fingerprint;
  return plan;
}

OrderedJson to_json(const RatePlan& plan) {
  OrderedJson json = {{"fingerprint", plan.fingerprint}, {"recipe", to_json(plan.recipe)}};
  OrderedJson& matrices = json["matrices"] = OrderedJson::array();
  for (const RatedMatrix& matrix : plan.matrices) matrices.push_back(to_json(matrix));
  const std::string sha256 = sha256_hex(json.dump());
  json["sha256"] = sha256;
  return json;
}

RatePlan rate_plan_from_json(const OrderedJson& json, std::string_view where) {
  OrderedJson body = json;
  body.erase("sha256");
  const std::string found = sha256_hex(body.dump());
  const std::string expected = json.at("sha256").get<std::string>();
  if (found != expected) {
    fail(ErrorCode::kCorruptFile, where,
         "the plan of rates has changed: expected sha256 {}, found {}", expected, found);
  }
  RatePlan plan{.recipe = parse_recipe(json.at("recipe").dump(), where),
                .fingerprint = json.at("fingerprint").get<std::string>()};
  for (const OrderedJson& matrix : json.at("matrices")) {
    plan.matrices.push_back({.name = matrix.at("name").get<std::string>(),
                             .weights = matrix.at("weights").get<int64_t>(),
                             .divergence = matrix.at("divergence").get<double>(),
                             .bits = matrix.at("bits").get<int>()});
  }
  return plan;
}

std::string summary(const RatePlan& plan) {
  std::map<int, int64_t, std::greater<>> matrices;
  double bits = 0, weights = 0;
  for (const RatedMatrix& matrix : plan.matrices) {
    ++matrices[matrix.bits];
    bits += matrix.bits * static_cast<double>(matrix.weights);
    weights += static_cast<double>(matrix.weights);
  }
  std::string text =
      fmt::format("rates: {:.3f} bits in the mean", weights > 0 ? bits / weights : 0);
  for (const auto& [rate, count] : matrices)
    text += fmt::format(", {} bits for {} matrices", rate, count);
  return text;
}

}  // namespace twofold

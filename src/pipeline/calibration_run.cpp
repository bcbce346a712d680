#include "pipeline/calibration_run.h"

#include <algorithm>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/finite.h"
#include "calib/moment_sum.h"
#include "pipeline/dense_weights.h"

namespace twofold {
namespace {

std::vector<int64_t> lengths_of(const CalibrationSamples& samples) {
  std::vector<int64_t> lengths;
  for (const std::vector<int32_t>& window : samples.windows) lengths.push_back(std::ssize(window));
  return lengths;
}

/// Moment and sample of one input while sequences come in.
struct Sum {
  MomentSum moment;
  std::vector<float> sample;
};

/// Appends `count` evenly spaced rows of x, but those that are not finite.
void take_rows(Matrix<const float> x, int64_t count, std::vector<float>& sample) {
  for (int64_t i = 0; i < count; ++i) {
    const auto row = x.row((2 * i + 1) * x.rows / (2 * count));
    if (!all_finite(row)) continue;
    sample.insert(sample.end(), row.begin(), row.end());
  }
}

/// @throws Error(kUnsupported) if too many tokens of `input` are not finite: they come from a
/// weight up to block `layer`, or from sums that overflow.
void check_dropped(const std::string& input, const MomentSum& sum, const ModelFiles& source,
                   int layer, const Context& ctx) {
  const int64_t seen = sum.tokens() + sum.dropped();
  if (static_cast<double>(sum.dropped()) <= kMaxDroppedShare * static_cast<double>(seen)) return;
  for (const Slot& slot : source.slots) {
    if (slot.layer <= layer && slot.format.empty()) check_finite(slot, ctx);
  }
  fail(ErrorCode::kUnsupported, input,
       "expected finite activations, found NaN or infinity in {} of {} tokens", sum.dropped(),
       seen);
}

CollectedMoment collected(Sum collected) {
  MomentSum& sum = collected.moment;
  const int64_t dropped = sum.dropped();
  return {
      .moment = std::move(sum).mean(), .dropped = dropped, .sample = std::move(collected.sample)};
}

}  // namespace

CalibrationRun::CalibrationRun(const ModelFiles& source, CalibrationSamples samples,
                               const std::filesystem::path& folder, bool in_memory)
    : source_(source),
      samples_(std::move(samples)),
      states_(lengths_of(samples_), source.config.hidden, folder, in_memory) {}

void CalibrationRun::embed(Progress& progress, const Context& ctx) {
  states_.begin_pass();
  for (int64_t i = 0; i < states_.samples(); ++i) {
    embed_sequence(source_, samples_.windows[static_cast<size_t>(i)], states_.open(i), ctx);
    states_.store(i);
    progress.step(0);
  }
  states_.end_pass(0);
}

std::map<std::string, CollectedMoment> CalibrationRun::observe(
    const BlockRunner& block, const std::vector<std::pair<std::string, int64_t>>& inputs,
    Progress& progress, const Context& ctx) {
  std::map<std::string, Sum, std::less<>> sums;
  for (const auto& [name, cols] : inputs) sums.emplace(name, Sum{MomentSum(cols), {}});
  const int64_t rows = ceil_div(kSampledRows, states_.samples());
  for (int64_t i = 0; i < states_.samples(); ++i) {
    block.observe(states_.open(i), inputs.back().first, ctx,
                  [&](std::string_view input, Matrix<const float> x) {
                    const auto sum = sums.find(input);
                    if (sum == sums.end()) return;
                    sum->second.moment.add_sequence(x, ctx);
                    take_rows(x, std::min(rows, x.rows), sum->second.sample);
                  });
    progress.step();
  }
  std::map<std::string, CollectedMoment> moments;
  for (auto& [name, sum] : sums) {
    check_dropped(name, sum.moment, source_, states_.layer(), ctx);
    moments[name] = collected(std::move(sum));
  }
  return moments;
}

void CalibrationRun::advance(const BlockRunner& block, Progress& progress, const Context& ctx) {
  states_.begin_pass();
  for (int64_t i = 0; i < states_.samples(); ++i) {
    block.run(states_.open(i), ctx);
    states_.store(i);
    progress.step();
  }
  states_.end_pass(states_.layer() + 1);
}

}  // namespace twofold

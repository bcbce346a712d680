#include "pipeline/calibration_run.h"

#include "base/error.h"
#include "calib/moment_sum.h"

namespace twofold {
namespace {

std::vector<int64_t> lengths_of(const CalibrationSamples& samples) {
  std::vector<int64_t> lengths;
  for (const std::vector<int32_t>& window : samples.windows) lengths.push_back(std::ssize(window));
  return lengths;
}

CollectedMoment collected(const std::string& input, MomentSum sum) {
  const int64_t seen = sum.tokens() + sum.dropped();
  if (static_cast<double>(sum.dropped()) > kMaxDroppedShare * static_cast<double>(seen)) {
    fail(ErrorCode::kUnsupported, input,
         "expected finite activations, found NaN or infinity in {} of {} tokens", sum.dropped(),
         seen);
  }
  const int64_t dropped = sum.dropped();
  return {.moment = std::move(sum).mean(), .dropped = dropped};
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
  std::map<std::string, MomentSum, std::less<>> sums;
  for (const auto& [name, cols] : inputs) sums.emplace(name, cols);
  for (int64_t i = 0; i < states_.samples(); ++i) {
    block.observe(states_.open(i), inputs.back().first, ctx,
                  [&](std::string_view input, Matrix<const float> x) {
                    const auto sum = sums.find(input);
                    if (sum != sums.end()) sum->second.add_sequence(x, ctx);
                  });
    progress.step();
  }
  std::map<std::string, CollectedMoment> moments;
  for (auto& [name, sum] : sums) moments[name] = collected(name, std::move(sum));
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

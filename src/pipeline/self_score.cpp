#include "pipeline/self_score.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/peak_memory.h"
#include "engine/load_tokenizer.h"
#include "eval/evaluate.h"
#include "io/file.h"

namespace twofold {
namespace {

/// Tokens that score the result of a run without calibration: enough to see a broken one, few
/// enough that quantizing takes longer than scoring.
constexpr int64_t kScoreTokens = 128;

std::string_view sequence_protocol() {
  return std::ranges::find(all_protocols(), false, &Protocol::needs_text)->name;
}

/// Loss of one model; its pages are given back. @param tokens out: targets scored.
double loss_of(const ModelFiles& files, std::span<const std::vector<int32_t>> texts,
               int64_t& tokens, const Context& ctx) {
  release_freed_memory();  // of the solves, of the model scored before
  const auto model = Model::load(files);
  double loss = std::numeric_limits<double>::infinity();
  try {
    const EvalResult result =
        evaluate(*model, nullptr, texts, 0,
                 {.protocol = std::string(sequence_protocol()), .batch_tokens = kScoreBatchTokens},
                 {.config = model->config()}, ctx);
    loss = result.nats_per_token;
    tokens = result.tokens;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnsupported) throw;  // a loss that is not finite
  }
  for (const StoredTensor& tensor : files.checkpoint->tensors()) release_pages(tensor.bytes);
  return loss;
}

}  // namespace

std::optional<SelfScore> score_result(const ModelFiles& source, const std::filesystem::path& result,
                                      const CalibrationSamples& samples, const Context& ctx) {
  std::vector<std::vector<int32_t>> texts;
  for (const std::vector<int32_t>& ids : samples.held_back) {
    if (ids.size() >= 2) texts.push_back(ids);
  }
  if (texts.empty()) return std::nullopt;
  SelfScore score{.text = fmt::format("{}, held back", samples.source)};
  score.source_nats = loss_of(source, texts, score.tokens, ctx);
  score.result_nats = loss_of(open_model(result), texts, score.tokens, ctx);
  return score;
}

std::optional<CalibrationSamples> builtin_held_back(const ModelFiles& source) {
  const auto tokenizer = load_tokenizer(source);
  if (tokenizer == nullptr) return std::nullopt;
  CalibrationSamples samples =
      load_samples({.samples = 1, .context = kScoreTokens}, *tokenizer, source.config.context, 0);
  if (samples.held_back.size() > 1) samples.held_back.resize(1);
  return samples;
}

std::string broken_warning(const SelfScore& score) {
  if (!std::isfinite(score.source_nats)) {
    return fmt::format(
        "WARNING: the source's own loss on {} is not finite: the result cannot be "
        "judged",
        score.text);
  }
  if (std::isfinite(score.result_nats) && score.result_nats <= score.source_nats + kBrokenNats) {
    return {};
  }
  return fmt::format(
      "WARNING: the result is broken: its loss is {:.3f} nats per token on {}, the source's is "
      "{:.3f}; expected at most {} more. Use more bits, smaller groups or another method",
      score.result_nats, score.text, score.source_nats, kBrokenNats);
}

}  // namespace twofold

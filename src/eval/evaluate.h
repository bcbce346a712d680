// Evaluation of a model as users run it: loss, perplexity, bits per byte, and divergence from a
// reference model, window by window; nothing is stored.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/context.h"
#include "engine/model.h"
#include "eval/protocol.h"

namespace twofold {

struct EvalRequest {
  std::string protocol;
  int64_t window = 0;           // 0 = the protocol's; otherwise part of its reported name
  int64_t max_windows = 0;      // 0 = all
  int64_t batch_tokens = 2048;  // of one forward call, unless a window is longer
};

/// Over all scored positions. Quantile q is the value at rank ceil(q n).
struct Divergence {
  double kl_mean = 0, kl_median = 0, kl_p99 = 0;  // KL(reference || model), nats
  double top1_agreement = 0;                      // 0 to 1
};

struct EvalResult {
  std::string protocol;  // "gptq-2048", or "gptq-2048:window=512" if it is not the default
  int64_t windows = 0;
  int64_t tokens = 0;        // scored targets
  std::string token_sha256;  // of all ids of the text, little-endian int32
  double nats_per_token = 0;
  double nats_last_position = 0;  // mean over windows of the loss of the last target of each
  double perplexity = 0;
  /// Delta method: perplexity times the standard error of nats_per_token, which comes from the
  /// spread of window means (Mean::kOfWindows, at least two windows) or of token losses.
  double perplexity_stderr = 0;
  /// nats_per_token / ln 2 x tokens of the whole text / text_bytes; if the bytes are known.
  std::optional<double> bits_per_byte;
  std::optional<Divergence> divergence;
  double seconds = 0;
};

/// Keeps the final hidden states of a reference between calls with the same reference, texts and
/// request, so that it runs once for many models. Called in the order of batches, from 0.
class ReferenceStates {
 public:
  virtual ~ReferenceStates() = default;
  /// Fills `hidden`, [scored targets of the batch, hidden]. @return false if they are not kept.
  virtual bool load(int64_t batch, std::span<float> hidden) = 0;
  virtual void save(int64_t batch, std::span<const float> hidden) = 0;
};

/// Scores `model`, and with `reference` (may be null) its divergence from it: the same windows go
/// through both, a few thousand tokens at a time; per position only one float of divergence is
/// kept. The result does not depend on the number of threads.
///
/// @param texts token sequences; the windows of each are scored. A text made of several files is
///        joined by the caller before it is tokenized.
/// @param text_bytes bytes of the whole text, 0 if unknown.
/// @param kept may be null: then the reference runs anew.
/// @throws Error(kInvalidArgument) if a window exceeds the context of a model, a text is shorter
///         than a window, an id is outside the vocabulary or the vocabularies differ;
///         Error(kUnsupported) if a loss is not finite; Error(kCancelled).
EvalResult evaluate(const Model& model, const Model* reference,
                    std::span<const std::vector<int32_t>> texts, int64_t text_bytes,
                    const EvalRequest& request, const ProtocolContext& protocol_context,
                    const Context& ctx, ReferenceStates* kept = nullptr);

/// Several models in one pass, so that the reference runs once: element i belongs to models[i]. A
/// model may be the reference itself. `seconds` is that of the whole pass.
std::vector<EvalResult> evaluate_all(std::span<const Model* const> models, const Model* reference,
                                     std::span<const std::vector<int32_t>> texts,
                                     int64_t text_bytes, const EvalRequest& request,
                                     const ProtocolContext& protocol_context, const Context& ctx,
                                     ReferenceStates* kept = nullptr);

/// The interface of `eval --json` (docs/cli.md).
nlohmann::ordered_json to_json(const EvalResult& result);

}  // namespace twofold

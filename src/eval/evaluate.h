// Evaluation of a model as users run it: loss, perplexity, bits per byte, and divergence from a
// reference model, window by window; nothing is stored.
#pragma once

#include <cstdint>
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
  int64_t window = 0;       // 0 = the protocol's; otherwise part of its reported name
  int64_t max_windows = 0;  // 0 = all
};

struct Divergence {
  double kl_mean = 0, kl_median = 0, kl_p99 = 0;  // KL(reference || model), nats
  double top1_agreement = 0;                      // 0 to 1
};

struct EvalResult {
  std::string protocol;  // with the window if it is not the default
  int64_t windows = 0;
  int64_t tokens = 0;        // scored targets
  std::string token_sha256;  // of all ids of the text, little-endian int32
  double nats_per_token = 0;
  double perplexity = 0, perplexity_stderr = 0;
  std::optional<double> bits_per_byte;  // if the text's bytes are known
  std::optional<Divergence> divergence;
  double seconds = 0;
};

/// @param texts token sequences: one per text file joined by the caller, or one per sequence for
///        protocol "sequences".
/// @param text_bytes bytes of the whole text, 0 if unknown.
EvalResult evaluate(const Model& model, const Model* reference,
                    std::span<const std::vector<int32_t>> texts, int64_t text_bytes,
                    const EvalRequest& request, const ProtocolContext& protocol_context,
                    const Context& ctx);

/// The interface of `eval --json` (docs/cli.md).
nlohmann::ordered_json to_json(const EvalResult& result);

}  // namespace twofold

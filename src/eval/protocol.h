// Scoring protocols: how a text becomes windows and which targets are scored. A registry: command
// line choices, help and documentation are made from it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "text/tokenizer.h"

namespace twofold {

/// One forward pass: `ids` go through the model; the logits of position p are scored against
/// targets[p - first] for p in [first, first + targets.size()).
struct ScoreWindow {
  std::vector<int32_t> ids;
  int64_t first = 0;
  std::vector<int32_t> targets;
};

/// How window losses become the headline figure.
enum class Mean { kOfWindows, kOfTokens };

struct ProtocolContext {
  const ModelConfig& config;
  int32_t bos_id = -1;               // set if the tokenizer has a BOS that it adds
  std::string_view source = "text";  // names what is scored in messages, such as its file
};

struct Protocol {
  std::string_view name, help;
  int64_t default_window;  // 0 = the model's context
  Mean mean;
  bool needs_text;  // false: sequences of ids, each a window of its own
  /// Cuts `ids`. @throws Error(kInvalidArgument) if they are shorter than one window.
  std::vector<ScoreWindow> (*cut)(std::span<const int32_t> ids, int64_t window,
                                  const ProtocolContext& context);
};

std::span<const Protocol> all_protocols();
const Protocol& find_protocol(std::string_view name);

}  // namespace twofold

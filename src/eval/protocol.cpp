#include "eval/protocol.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace twofold {

namespace {

using Ids = std::span<const int32_t>;

std::vector<int32_t> copy(Ids ids) { return {ids.begin(), ids.end()}; }

void check_window(int64_t window, int64_t least) {
  if (window < least) {
    fail(ErrorCode::kInvalidArgument, "--window", "expected at least {} tokens, found {}", least,
         window);
  }
}

void check_length(Ids ids, int64_t needed, const ProtocolContext& context) {
  if (std::ssize(ids) < needed) {
    fail(ErrorCode::kInvalidArgument, context.source,
         "shorter than one window: expected at least {} tokens, found {}", needed, ids.size());
  }
}

/// Consecutive windows; all targets inside the window (GPTQ, arXiv:2210.17323, A.2.1: the released
/// opt.py and llama.py shift logits against labels of the same window).
std::vector<ScoreWindow> cut_gptq(Ids ids, int64_t window, const ProtocolContext& context) {
  check_window(window, 2);
  check_length(ids, window, context);
  std::vector<ScoreWindow> windows;
  for (int64_t begin = 0; begin + window <= std::ssize(ids); begin += window) {
    const Ids part = ids.subspan(begin, window);
    windows.push_back({copy(part.first(window - 1)), 0, copy(part.subspan(1))});
  }
  return windows;
}

/// llama.cpp's perplexity tool: BOS in place of each window's first token if the tokenizer adds
/// one; targets from position window/2 + 1 on. The text itself is tokenized without BOS.
std::vector<ScoreWindow> cut_llama_cpp(Ids ids, int64_t window, const ProtocolContext& context) {
  check_window(window, 4);
  check_length(ids, window, context);
  const int64_t first = window / 2;
  std::vector<ScoreWindow> windows;
  for (int64_t begin = 0; begin + window <= std::ssize(ids); begin += window) {
    const Ids part = ids.subspan(begin, window);
    ScoreWindow cut{copy(part.first(window - 1)), first, copy(part.subspan(first + 1))};
    if (context.bos_id >= 0) cut.ids[0] = context.bos_id;
    windows.push_back(std::move(cut));
  }
  return windows;
}

/// nanoGPT's batches, but consecutive: inputs [begin, begin + window), targets one token later, so
/// the last target of a window is the first input of the next.
std::vector<ScoreWindow> cut_nanogpt(Ids ids, int64_t window, int64_t first,
                                     const ProtocolContext& context) {
  check_length(ids, window + 1, context);
  std::vector<ScoreWindow> windows;
  for (int64_t begin = 0; begin + window + 1 <= std::ssize(ids); begin += window) {
    windows.push_back({copy(ids.subspan(begin, window)), first,
                       copy(ids.subspan(begin + first + 1, window - first))});
  }
  return windows;
}

std::vector<ScoreWindow> cut_nanogpt_full(Ids ids, int64_t window, const ProtocolContext& context) {
  check_window(window, 1);
  return cut_nanogpt(ids, window, 0, context);
}

std::vector<ScoreWindow> cut_nanogpt_last(Ids ids, int64_t window, const ProtocolContext& context) {
  check_window(window, 1);
  return cut_nanogpt(ids, window, window - 1, context);
}

std::vector<ScoreWindow> cut_sequences(Ids ids, int64_t window, const ProtocolContext& context) {
  if (std::ssize(ids) < 2) {
    fail(ErrorCode::kInvalidArgument, context.source,
         "expected sequences of at least 2 tokens, found {}", ids.size());
  }
  if (std::ssize(ids) - 1 > window) {
    fail(ErrorCode::kInvalidArgument, context.source,
         "expected sequences of at most {} tokens (the context and one target), found {}",
         window + 1, ids.size());
  }
  return {{copy(ids.first(ids.size() - 1)), 0, copy(ids.subspan(1))}};
}

const std::array<Protocol, 5> kProtocols{{
    {"gptq-2048",
     "consecutive windows of 2048 tokens, the rest dropped, 2047 targets each; perplexity is exp "
     "of the mean of window means (GPTQ, QuIP)",
     2048, Mean::kOfWindows, true, cut_gptq},
    {"llama.cpp-512",
     "consecutive windows of 512 tokens; BOS replaces the first if the tokenizer adds one; the "
     "last 255 targets are scored (llama-perplexity)",
     512, Mean::kOfTokens, true, cut_llama_cpp},
    {"nanogpt-full",
     "consecutive windows of the model's context, targets reach one token beyond the window; all "
     "positions scored",
     0, Mean::kOfWindows, true, cut_nanogpt_full},
    {"nanogpt-last", "windows as nanogpt-full, only the last position of each scored", 0,
     Mean::kOfWindows, true, cut_nanogpt_last},
    {"sequences", "every sequence of ids on its own, from its start, all targets scored", 0,
     Mean::kOfTokens, false, cut_sequences},
}};

}  // namespace

std::span<const Protocol> all_protocols() { return kProtocols; }

const Protocol& find_protocol(std::string_view name) {
  const auto found = std::ranges::find(kProtocols, name, &Protocol::name);
  if (found != kProtocols.end()) return *found;
  std::vector<std::string_view> names;
  for (const Protocol& protocol : kProtocols) names.push_back(protocol.name);
  fail(ErrorCode::kInvalidArgument, "--protocol", "expected one of {}, found '{}'",
       fmt::join(names, ", "), name);
}

}  // namespace twofold

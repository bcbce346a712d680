#include "engine/generate.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/clock.h"
#include "base/finite.h"

namespace twofold {
namespace {

struct ReasonName {
  StopReason reason;
  std::string_view name;
};
constexpr std::array kReasons = {
    ReasonName{StopReason::kLength, "length"},
    ReasonName{StopReason::kEndToken, "end token"},
    ReasonName{StopReason::kStopString, "stop string"},
    ReasonName{StopReason::kContextFull, "context full"},
};

/// Passes text on as it becomes certain that no stop string begins in it.
class TextOut {
 public:
  TextOut(const std::vector<std::string>& stops, const std::function<void(std::string_view)>& sink)
      : stops_(stops), sink_(sink) {}

  /// Adds text; true once a stop string is complete (the text is then cut before it).
  bool push(std::string_view piece) {
    text_ += piece;
    size_t found = std::string::npos;
    for (const std::string& stop : stops_) {
      if (!stop.empty()) found = std::min(found, text_.find(stop, search_from(stop)));
    }
    if (found != std::string::npos) {
      text_.resize(found);
      emit(text_.size());
      return true;
    }
    emit(text_.size() - held_back());
    return false;
  }
  void finish() { emit(text_.size()); }
  const std::string& text() const { return text_; }

 private:
  size_t search_from(const std::string& stop) const {
    return given_ > stop.size() ? given_ - stop.size() : 0;
  }
  /// Length of the longest suffix that begins some stop string.
  size_t held_back() const {
    size_t longest = 0;
    for (const std::string& stop : stops_) {
      for (size_t n = std::min(stop.size(), text_.size()); n > longest; --n) {
        if (std::string_view(text_).substr(text_.size() - n) ==
            std::string_view(stop).substr(0, n)) {
          longest = n;
        }
      }
    }
    return longest;
  }
  void emit(size_t end) {
    if (end > given_ && sink_) sink_(std::string_view(text_).substr(given_, end - given_));
    given_ = std::max(given_, end);
  }

  const std::vector<std::string>& stops_;
  const std::function<void(std::string_view)>& sink_;
  std::string text_;
  size_t given_ = 0;
};

/// Runs the prompt through the cache; leaves the last position's hidden state in `hidden`.
void run_prompt(const Model& model, std::span<const int32_t> prompt, KvCache& cache,
                std::vector<float>& hidden, const Context& ctx) {
  const size_t width = hidden.size();
  for (size_t at = 0; at < prompt.size();) {
    const size_t count = std::min<size_t>(kPromptChunk, prompt.size() - at);
    const SequenceInput input{prompt.subspan(at, count), &cache};
    const AlignedBuffer<float> states = model.forward({&input, 1}, ctx);
    std::copy_n(states.data() + (count - 1) * width, width, hidden.data());
    at += count;
    ctx.report("prompt", static_cast<int64_t>(at), static_cast<int64_t>(prompt.size()));
  }
}

}  // namespace

std::string_view stop_reason_name(StopReason reason) {
  for (const ReasonName& row : kReasons) {
    if (row.reason == reason) return row.name;
  }
  fail(ErrorCode::kInternal, "stop reason", "not in the table");
}

GenerateResult generate(const Model& model, const Tokenizer* tokenizer,
                        std::span<const int32_t> prompt, const GenerateOptions& options,
                        const Context& ctx, const std::function<void(std::string_view)>& on_text,
                        const std::function<void(int32_t)>& on_token) {
  const ModelConfig& config = model.config();
  const int64_t context = options.context > 0 ? options.context : config.context;
  if (context > config.context) {
    fail(ErrorCode::kInvalidArgument, "context", "expected at most the model's {}, found {}",
         config.context, context);
  }
  if (prompt.empty()) fail(ErrorCode::kInvalidArgument, "prompt", "expected tokens, found none");
  if (static_cast<int64_t>(prompt.size()) > context) {
    fail(ErrorCode::kInvalidArgument, "prompt", "{} tokens do not fit the context of {}",
         prompt.size(), context);
  }
  GenerateResult result;
  result.prompt_tokens = static_cast<int64_t>(prompt.size());
  Sampler sampler(options.sampler);
  const int64_t most = options.max_tokens < 0
                           ? context
                           : std::min(context, result.prompt_tokens + options.max_tokens);
  KvCache cache(config, most, find_kv_format(options.kv_cache));
  std::vector<float> hidden(static_cast<size_t>(config.hidden));
  std::vector<float> logits(static_cast<size_t>(config.vocab_size));
  Clock::time_point start = Clock::now();
  run_prompt(model, prompt, cache, hidden, ctx);
  result.prompt_seconds = seconds_since(start);

  start = Clock::now();
  std::vector<int32_t> history(prompt.begin(), prompt.end());
  std::optional<StreamDecoder> decoder;
  if (tokenizer != nullptr) decoder.emplace(*tokenizer);
  TextOut out(options.stop, on_text);
  bool stopped = false;
  while (options.max_tokens < 0 || static_cast<int64_t>(result.ids.size()) < options.max_tokens) {
    ctx.check_cancelled();
    model.logits({hidden.data(), 1, config.hidden}, {logits.data(), 1, config.vocab_size}, ctx);
    if (!all_finite(logits)) {
      fail(ErrorCode::kUnsupported, model.files().path.string(),
           "expected finite logits, found others after {} tokens", history.size());
    }
    const int32_t id = sampler.sample(logits, history);
    const bool end =
        std::find(config.eos_ids.begin(), config.eos_ids.end(), id) != config.eos_ids.end() ||
        (tokenizer != nullptr && config.eos_ids.empty() && id == tokenizer->eos_id());
    if (end && !options.ignore_eos) {
      result.reason = StopReason::kEndToken;
      break;
    }
    result.ids.push_back(id);
    history.push_back(id);
    if (on_token) on_token(id);
    if (decoder && out.push(decoder->push(id))) {
      result.reason = StopReason::kStopString;
      stopped = true;
      break;
    }
    if (static_cast<int64_t>(result.ids.size()) == options.max_tokens) break;
    if (cache.length() == context) {
      result.reason = StopReason::kContextFull;
      break;
    }
    const SequenceInput input{{&id, 1}, &cache};
    const AlignedBuffer<float> state = model.forward({&input, 1}, ctx);
    std::copy_n(state.data(), hidden.size(), hidden.data());
  }
  if (decoder && !stopped) {
    out.push(decoder->flush());
    out.finish();
  }
  result.text = out.text();
  result.generate_seconds = seconds_since(start);
  result.kv_cache_bytes = cache.bytes();
  return result;
}

}  // namespace twofold

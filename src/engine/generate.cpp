#include "engine/generate.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/clock.h"
#include "base/finite.h"
#include "model/rope_factors.h"

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

}  // namespace

std::string_view stop_reason_name(StopReason reason) {
  for (const ReasonName& row : kReasons) {
    if (row.reason == reason) return row.name;
  }
  fail(ErrorCode::kInternal, "stop reason", "not in the table");
}

namespace {

int64_t checked_context(const Model& model, int64_t context) {
  if (context > model.config().context) {
    fail(ErrorCode::kInvalidArgument, "context", "expected at most the model's {}, found {}",
         model.config().context, context);
  }
  return context;
}

}  // namespace

TokenCache::TokenCache(const Model& model, int64_t context, std::string_view kv_format)
    : keys_values_(model.config(), checked_context(model, context), find_kv_format(kv_format)) {}

/// One run of `generate`: a sequence that grows in a cache.
class Generation {
 public:
  Generation(const Model& model, TokenCache& cache, const Context& ctx)
      : model_(model),
        cache_(cache),
        ctx_(ctx),
        hidden_(static_cast<size_t>(model.config().hidden)),
        logits_(static_cast<size_t>(model.config().vocab_size)) {}

  bool is_full() const { return length() == cache_.keys_values_.capacity(); }

  /// Runs what the cache does not hold of the prompt. @return how much of it the cache held: at
  /// most all but the last token, whose hidden state is needed.
  int64_t start(std::span<const int32_t> prompt) {
    if (static_cast<int64_t>(prompt.size()) > cache_.keys_values_.capacity()) {
      fail(ErrorCode::kInvalidArgument, "prompt", "{} tokens do not fit the context of {}",
           prompt.size(), cache_.keys_values_.capacity());
    }
    std::vector<int32_t>& ids = cache_.ids_;
    const size_t most = std::min({prompt.size() - 1, ids.size(), static_cast<size_t>(length())});
    size_t at = 0;
    // LongRoPE: other angles for all positions once there are many.
    const bool useful = same_angles(model_.config(), cache_.keys_values_.turned_for(),
                                    static_cast<int64_t>(prompt.size()));
    while (useful && at < most && ids[at] == prompt[at]) ++at;
    cache_.keys_values_.expect(static_cast<int64_t>(prompt.size()));
    cache_.keys_values_.truncate(static_cast<int64_t>(at));
    ids.resize(at);
    const auto cached = static_cast<int64_t>(at);
    const auto total = static_cast<int64_t>(prompt.size()) - cached;
    while (at < prompt.size()) {
      const size_t count = std::min<size_t>(kPromptChunk, prompt.size() - at);
      run(prompt.subspan(at, count));
      at += count;
      ctx_.report("prompt", static_cast<int64_t>(at) - cached, total);
    }
    return cached;
  }

  /// Runs one more token, or all anew if that turns the earlier ones by other angles, as the
  /// transformers library does.
  void add(int32_t id) {
    if (same_angles(model_.config(), cache_.keys_values_.turned_for(), length() + 1)) {
      run({&id, 1});
      return;
    }
    std::vector<int32_t> all = cache_.ids_;
    all.push_back(id);
    start(all);
  }

  int32_t next(Sampler& sampler, std::span<const int32_t> history) {
    const ModelConfig& config = model_.config();
    model_.logits({hidden_.data(), 1, config.hidden}, {logits_.data(), 1, config.vocab_size}, ctx_);
    if (!all_finite(logits_)) {
      fail(ErrorCode::kUnsupported, model_.files().path.string(),
           "expected finite logits, found others after {} tokens", history.size());
    }
    return sampler.sample(logits_, history);
  }

  int64_t bytes() const { return cache_.keys_values_.bytes(); }

 private:
  int64_t length() const { return cache_.keys_values_.length(); }

  /// Runs tokens, and keeps the hidden state of the last one.
  void run(std::span<const int32_t> ids) {
    const SequenceInput input{ids, &cache_.keys_values_};
    const AlignedBuffer<float> states = model_.forward({&input, 1}, ctx_);
    std::copy_n(states.data() + (ids.size() - 1) * hidden_.size(), hidden_.size(), hidden_.data());
    cache_.ids_.insert(cache_.ids_.end(), ids.begin(), ids.end());
  }

  const Model& model_;
  TokenCache& cache_;
  const Context& ctx_;
  std::vector<float> hidden_;  // [hidden] of the last token
  std::vector<float> logits_;  // [vocab]
};

namespace {

/// The ids that end the text.
std::vector<int32_t> end_ids(const Model& model, const Tokenizer* tokenizer,
                             const GenerateOptions& options) {
  if (options.ignore_eos) return {};
  std::vector<int32_t> ids = model.config().eos_ids;
  if (ids.empty() && tokenizer != nullptr) ids.push_back(tokenizer->eos_id());
  ids.insert(ids.end(), options.end_ids.begin(), options.end_ids.end());
  return ids;
}

}  // namespace

GenerateResult generate(const Model& model, const Tokenizer* tokenizer,
                        std::span<const int32_t> prompt, const GenerateOptions& options,
                        const Context& ctx, const std::function<void(std::string_view)>& on_text,
                        const std::function<void(int32_t)>& on_token) {
  if (prompt.empty()) fail(ErrorCode::kInvalidArgument, "prompt", "expected tokens, found none");
  std::optional<TokenCache> own;
  if (options.cache == nullptr) {
    const int64_t context =
        checked_context(model, options.context > 0 ? options.context : model.config().context);
    const int64_t most = options.max_tokens < 0
                             ? context
                             : std::min(context, std::ssize(prompt) + options.max_tokens);
    own.emplace(model, most, options.kv_cache);
  }
  Generation generation(model, own ? *own : *options.cache, ctx);
  const std::vector<int32_t> ends = end_ids(model, tokenizer, options);
  GenerateResult result;
  result.prompt_tokens = static_cast<int64_t>(prompt.size());
  std::optional<Sampler> own_sampler;
  if (options.stream == nullptr) own_sampler.emplace(options.sampler);
  Sampler& sampler = own_sampler ? *own_sampler : *options.stream;
  Clock::time_point start = Clock::now();
  result.cached_tokens = generation.start(prompt);
  result.prompt_seconds = seconds_since(start);

  start = Clock::now();
  std::vector<int32_t> history(prompt.begin(), prompt.end());
  std::optional<StreamDecoder> decoder;
  if (tokenizer != nullptr) decoder.emplace(*tokenizer);
  TextOut out(options.stop, on_text);
  bool stopped = false;
  while (options.max_tokens < 0 || static_cast<int64_t>(result.ids.size()) < options.max_tokens) {
    ctx.check_cancelled();
    const int32_t id = generation.next(sampler, history);
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) {
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
    if (generation.is_full()) {
      result.reason = StopReason::kContextFull;
      break;
    }
    generation.add(id);
  }
  if (decoder && !stopped) {
    out.push(decoder->flush());
    out.finish();
  }
  result.text = out.text();
  result.generate_seconds = seconds_since(start);
  result.kv_cache_bytes = generation.bytes();
  return result;
}

}  // namespace twofold

// Generation: a prompt, then one token at a time through the KV cache.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/model.h"
#include "engine/sampler.h"
#include "text/tokenizer.h"

namespace twofold {

/// Tokens per forward pass of a prompt.
inline constexpr int64_t kPromptChunk = 512;

enum class StopReason { kLength, kEndToken, kStopString, kContextFull };
std::string_view stop_reason_name(StopReason reason);

/// A cache that outlives one generation: the next one goes on from the longest common start of the
/// ids it holds and its own prompt.
class TokenCache {
 public:
  /// @throws Error(kInvalidArgument) if `context` is more than the model's, or the name of the
  /// cache's form is unknown.
  TokenCache(const Model& model, int64_t context, std::string_view kv_format);

 private:
  friend class Generation;
  KvCache keys_values_;
  std::vector<int32_t> ids_;  // at least those that keys_values_ holds
};

struct GenerateOptions {
  int64_t max_tokens = 128;  // -1: until the context is full
  SamplerOptions sampler = {};
  std::vector<std::string> stop = {};  // stop strings (need a tokenizer); not part of the text
  bool ignore_eos = false;
  int64_t context = 0;                // positions of the cache; 0 = the model's
  std::string kv_cache = "f32";       // how keys and values are stored: a name of kv_formats()
  std::vector<int32_t> end_ids = {};  // more ids that end the text, beside the model's
  TokenCache* cache = nullptr;  // of earlier generations, in place of `context` and `kv_cache`
  Sampler* stream = nullptr;    // goes on with its random numbers, in place of a new `sampler`
};

struct GenerateResult {
  std::vector<int32_t> ids;  // generated ids, without the prompt
  std::string text;          // decoded, cut before a stop string
  StopReason reason = StopReason::kLength;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt, that were in the cache already
  double prompt_seconds = 0, generate_seconds = 0;
  int64_t kv_cache_bytes = 0;
};

/// @param tokenizer null: ids only. @param on_text gets each certain piece of text as it comes.
/// @param on_token gets each id as it comes. Either may be empty.
/// @throws Error(kInvalidArgument) if the prompt is empty or longer than the context, or the name
/// of the cache's form is unknown.
GenerateResult generate(const Model& model, const Tokenizer* tokenizer,
                        std::span<const int32_t> prompt, const GenerateOptions& options,
                        const Context& ctx,
                        const std::function<void(std::string_view)>& on_text = {},
                        const std::function<void(int32_t)>& on_token = {});

}  // namespace twofold

// Sampler: from logits to a token. The chain is llama.cpp's default order: repetition penalty,
// top-k, top-p, min-p, temperature. Temperature 0 is greedy (lowest id wins ties).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.h"

namespace twofold {

struct SamplerOptions {
  float temperature = 0.8f;
  int64_t top_k = 40;          // 0 = off
  float top_p = 0.95f;         // 1 = off
  float min_p = 0.05f;         // 0 = off
  float repeat_penalty = 1;    // 1 = off
  int64_t repeat_last_n = 64;  // tokens looked back at
  uint64_t seed = 0;
};

class Sampler {
 public:
  /// @throws Error(kInvalidArgument) on a value out of range.
  explicit Sampler(const SamplerOptions& options);
  /// @param logits [vocab], changed in place. @param history all ids so far.
  int32_t sample(std::span<float> logits, std::span<const int32_t> history);

 private:
  SamplerOptions options_;
  Rng rng_;
  std::vector<std::pair<float, int32_t>> candidates_;
};

}  // namespace twofold

#include "engine/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace twofold {
namespace {

void check(bool ok, std::string_view name, double value, std::string_view expected) {
  if (!ok) fail(ErrorCode::kInvalidArgument, name, "expected {}, found {}", expected, value);
}

bool before(const std::pair<float, int32_t>& a, const std::pair<float, int32_t>& b) {
  return a.first != b.first ? a.first > b.first : a.second < b.second;
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options) : options_(options), rng_(options.seed, "sampler") {
  check(options.temperature >= 0 && std::isfinite(options.temperature), "temp", options.temperature,
        "0 or more");
  check(options.top_k >= 0, "top-k", static_cast<double>(options.top_k), "0 or more");
  check(options.top_p > 0 && options.top_p <= 1, "top-p", options.top_p, "above 0, at most 1");
  check(options.min_p >= 0 && options.min_p <= 1, "min-p", options.min_p, "0 to 1");
  check(options.repeat_penalty > 0 && std::isfinite(options.repeat_penalty), "repeat-penalty",
        options.repeat_penalty, "more than 0");
  check(options.repeat_last_n >= 0, "repeat-last-n", static_cast<double>(options.repeat_last_n),
        "0 or more");
}

int32_t Sampler::sample(std::span<float> logits, std::span<const int32_t> history) {
  if (options_.repeat_penalty != 1) {
    const size_t n = std::min(history.size(), static_cast<size_t>(options_.repeat_last_n));
    std::vector<int32_t> recent(history.end() - static_cast<std::ptrdiff_t>(n), history.end());
    std::sort(recent.begin(), recent.end());
    recent.erase(std::unique(recent.begin(), recent.end()), recent.end());
    for (const int32_t id : recent) {
      float& logit = logits[static_cast<size_t>(id)];
      logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
    }
  }
  if (options_.temperature == 0) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates_.emplace_back(logits[i], static_cast<int32_t>(i));
  }
  size_t kept = candidates_.size();
  if (options_.top_k > 0) kept = std::min(kept, static_cast<size_t>(options_.top_k));
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(kept),
                    candidates_.end(), before);
  candidates_.resize(kept);
  // Probabilities of the candidates at temperature 1, which top-p and min-p judge by.
  const float top = candidates_.front().first;
  double total = 0;
  for (const auto& [logit, id] : candidates_) total += std::exp(double{logit} - top);
  if (options_.top_p < 1) {
    double sum = 0;
    size_t n = 0;
    while (n < candidates_.size() && sum < options_.top_p * total) {
      sum += std::exp(double{candidates_[n++].first} - top);
    }
    candidates_.resize(std::max<size_t>(n, 1));
  }
  if (options_.min_p > 0) {
    const double floor = std::log(double{options_.min_p}) + top;
    size_t n = 1;
    while (n < candidates_.size() && candidates_[n].first >= floor) ++n;
    candidates_.resize(n);
  }
  total = 0;
  for (const auto& [logit, id] : candidates_) {
    total += std::exp((double{logit} - top) / options_.temperature);
  }
  double left = rng_.uniform() * total;
  for (const auto& [logit, id] : candidates_) {
    left -= std::exp((double{logit} - top) / options_.temperature);
    if (left < 0) return id;
  }
  return candidates_.back().second;
}

}  // namespace twofold

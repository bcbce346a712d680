#include "engine/rope_table.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/rope_factors.h"

namespace twofold {

int64_t RopeTable::add(int64_t first, int64_t count, std::span<const float> frequencies,
                       double factor) {
  const size_t before = cos_.size();
  TWOFOLD_ASSERT(before == 0 || std::ssize(frequencies) == pairs_);
  pairs_ = std::ssize(frequencies);
  cos_.reserve(before + static_cast<size_t>(count) * frequencies.size());
  sin_.reserve(cos_.capacity());
  for (int64_t p = first; p < first + count; ++p) {
    for (const float frequency : frequencies) {
      // The angle is rounded to float32 as in the reference implementation.
      const float angle = static_cast<float>(p) * frequency;
      cos_.push_back(static_cast<float>(factor * std::cos(double{angle})));
      sin_.push_back(static_cast<float>(factor * std::sin(double{angle})));
    }
  }
  return pairs_ == 0 ? 0 : static_cast<int64_t>(before) / pairs_;
}

void RopeTable::apply(int64_t head_dim, Matrix<float> x, int64_t first_row) const {
  for (int64_t r = 0; r < x.rows; ++r) {
    const float* c = cos_.data() + (first_row + r) * pairs_;
    const float* s = sin_.data() + (first_row + r) * pairs_;
    for (int64_t head = 0; head < x.cols / head_dim; ++head) {
      float* v = x.row(r).data() + head * head_dim;
      for (int64_t i = 0; i < pairs_; ++i) {
        const float a = v[i], b = v[i + pairs_];
        v[i] = a * c[i] - b * s[i];
        v[i + pairs_] = b * c[i] + a * s[i];
      }
    }
  }
}

Ropes::Ropes(const ModelConfig& config) {
  if (config.position != PositionKind::kRope) return;
  const auto add = [&](const RopeConfig& rope) {
    ropes_.push_back({rope, rope_frequencies(rope), rope_frequencies(rope, true)});
  };
  add(config.rope);
  if (config.local_rope) add(*config.local_rope);
}

bool Ropes::depend_on_length() const {
  return std::ranges::any_of(
      ropes_, [](const Rope& rope) { return rope.config.scaling == RopeScaling::kLongRope; });
}

int64_t RopeTables::add(int64_t first, int64_t count, int64_t most) {
  int64_t row = 0;
  for (size_t i = 0; i < tables_.size(); ++i) {
    const Ropes::Rope& rope = ropes_.ropes_[i];
    const bool is_long = most > rope.config.original_context;
    row = tables_[i].add(first, count, is_long ? rope.long_frequencies : rope.frequencies,
                         rope.config.attention_factor);
  }
  return row;
}

const RopeTable* RopeTables::find(LayerRope rope) const {
  if (tables_.empty() || rope == LayerRope::kNone) return nullptr;
  if (rope == LayerRope::kMain) return &tables_.front();
  TWOFOLD_ASSERT(tables_.size() == 2);
  return &tables_.back();
}

}  // namespace twofold

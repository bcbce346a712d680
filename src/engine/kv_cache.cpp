#include "engine/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "base/checked_math.h"
#include "base/error.h"

namespace twofold {
namespace {
constexpr int64_t kStep = 256;  // positions added at a time, at least
}  // namespace

KvCache::KvCache(const ModelConfig& config, int64_t capacity)
    : layers_(config.layers),
      width_(config.kv_width()),
      capacity_(capacity),
      keys_(static_cast<size_t>(config.layers)),
      values_(static_cast<size_t>(config.layers)) {}

int64_t KvCache::bytes() const {
  return 2 * layers_ * allocated_ * width_ * static_cast<int64_t>(sizeof(float));
}

Matrix<float> KvCache::keys(int64_t layer, int64_t positions) {
  return {keys_[static_cast<size_t>(layer)].data(), positions, width_};
}

Matrix<float> KvCache::values(int64_t layer, int64_t positions) {
  return {values_[static_cast<size_t>(layer)].data(), positions, width_};
}

void KvCache::reserve(int64_t count) {
  const int64_t needed = length_ + count;
  if (needed > capacity_) {
    fail(ErrorCode::kInvalidArgument, "context",
         "{} positions are needed, but the context holds {}", needed, capacity_);
  }
  if (needed <= allocated_) return;
  // Doubling keeps the copies of a long generation linear in its length.
  const int64_t size = std::min(capacity_, std::max(round_up(needed, kStep), 2 * allocated_));
  for (auto* side : {&keys_, &values_}) {
    for (AlignedBuffer<float>& buffer : *side) {
      AlignedBuffer<float> grown(static_cast<size_t>(size * width_));
      if (length_ > 0) {
        std::memcpy(grown.data(), buffer.data(),
                    static_cast<size_t>(length_ * width_) * sizeof(float));
      }
      buffer = std::move(grown);
    }
  }
  allocated_ = size;
}

}  // namespace twofold

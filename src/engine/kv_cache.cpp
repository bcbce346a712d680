#include "engine/kv_cache.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/checked_math.h"
#include "base/error.h"
#include "base/registry.h"

namespace twofold {
namespace {

constexpr int64_t kStep = 256;  // positions added at a time, at least
static_assert(kStep % kPanelCols == 0);

struct F32 {
  using Number = float;
  static void encode(const Ops&, const float* x, int64_t n, float* y, float*) {
    std::copy_n(x, n, y);
  }
  static const float* decode_keys(const Ops&, const float* x, const float*, int64_t, float*) {
    return x;
  }
  static const float* decode_values(const Ops&, const float* x, const float*, int64_t, int64_t,
                                    float*) {
    return x;
  }
};

struct F16 {
  using Number = uint16_t;
  static void encode(const Ops& op, const float* x, int64_t n, uint16_t* y, float*) {
    op.f32_to_f16(x, y, n);
  }
  static const float* decode_keys(const Ops& op, const uint16_t* x, const float*, int64_t n,
                                  float* y) {
    op.f16_to_f32(x, y, n * kPanelCols);
    return y;
  }
  static const float* decode_values(const Ops& op, const uint16_t* x, const float*, int64_t rows,
                                    int64_t n, float* y) {
    op.f16_to_f32(x, y, rows * n);
    return y;
  }
};

struct Q8 {
  using Number = int8_t;
  static void encode(const Ops& op, const float* x, int64_t n, int8_t* y, float* scale) {
    *scale = op.f32_to_q8(x, y, n);
  }
  static const float* decode_keys(const Ops& op, const int8_t* x, const float* scales, int64_t n,
                                  float* y) {
    op.q8_cols_to_f32(x, scales, y, n, kPanelCols);
    return y;
  }
  static const float* decode_values(const Ops& op, const int8_t* x, const float* scales,
                                    int64_t rows, int64_t n, float* y) {
    op.q8_rows_to_f32(x, scales, y, rows, n);
    return y;
  }
};

template <class Codec>
using NumberOf = typename Codec::Number;

template <class Codec>
void store(const Ops& op, const float* x, int64_t n, std::byte* row, std::byte* to, int64_t stride,
           float* scale) {
  auto* numbers = reinterpret_cast<NumberOf<Codec>*>(row);
  Codec::encode(op, x, n, numbers, scale);
  auto* out = reinterpret_cast<NumberOf<Codec>*>(to);
  for (int64_t i = 0; i < n; ++i) out[i * stride] = numbers[i];
}

template <class Codec>
const float* load_keys(const Ops& op, const std::byte* from, const float* scales, int64_t n,
                       float* scratch) {
  return Codec::decode_keys(op, reinterpret_cast<const NumberOf<Codec>*>(from), scales, n, scratch);
}

template <class Codec>
const float* load_values(const Ops& op, const std::byte* from, const float* scales, int64_t rows,
                         int64_t n, float* scratch) {
  return Codec::decode_values(op, reinterpret_cast<const NumberOf<Codec>*>(from), scales, rows, n,
                              scratch);
}

template <class Codec>
constexpr KvFormat make_format(std::string_view name, std::string_view help, bool scaled) {
  return {name,
          help,
          static_cast<int64_t>(sizeof(NumberOf<Codec>)),
          scaled,
          store<Codec>,
          load_keys<Codec>,
          load_values<Codec>};
}

constexpr std::array kFormats = {
    make_format<F32>("f32", "32-bit numbers, exact", false),
    make_format<F16>("f16", "16-bit numbers: half the memory", false),
    make_format<Q8>("q8",
                    "8-bit numbers of vectors rotated by a Hadamard matrix, with a 32-bit scale "
                    "per head and position: about a quarter of the memory",
                    true),
};

/// The largest power of two that divides n.
int64_t power_of_two_in(int64_t n) { return n & -n; }

struct RowScratch {
  AlignedBuffer<float> rotated;      // [head_dim]
  AlignedBuffer<std::byte> numbers;  // [head_dim] stored numbers
};
RowScratch& row_scratch() {
  thread_local RowScratch scratch;
  return scratch;
}

}  // namespace

std::span<const KvFormat> kv_formats() { return kFormats; }

const KvFormat& find_kv_format(std::string_view name) {
  return find_entry(kv_formats(), "cache format", name);
}

KvLayer::KvLayer(const ModelConfig& config, const KvFormat& format)
    : format_(&format),
      heads_(config.kv_heads),
      head_dim_(config.head_dim),
      rotation_(format.scaled ? power_of_two_in(config.head_dim) : 1) {}

int64_t KvLayer::bytes() const {
  const int64_t scale = format_->scaled ? static_cast<int64_t>(sizeof(float)) : 0;
  return 2 * heads_ * allocated_ * (head_dim_ * format_->number_bytes + scale);
}

const std::byte* KvLayer::numbers_at(const Side& side, int64_t head, int64_t position) const {
  return side.numbers.data() + (head * allocated_ + position) * head_dim_ * format_->number_bytes;
}

const float* KvLayer::scales_at(const Side& side, int64_t head, int64_t position) const {
  return format_->scaled ? side.scales.data() + head * allocated_ + position : nullptr;
}

const float* KvLayer::keys(int64_t head, int64_t begin, float* scratch, Isa isa) const {
  return format_->load_keys(ops(isa), numbers_at(keys_, head, begin), scales_at(keys_, head, begin),
                            head_dim_, scratch);
}

Matrix<const float> KvLayer::values(int64_t head, int64_t begin, int64_t count, float* scratch,
                                    Isa isa) const {
  const float* rows =
      format_->load_values(ops(isa), numbers_at(values_, head, begin),
                           scales_at(values_, head, begin), count, head_dim_, scratch);
  return {rows, count, head_dim_};
}

KvLayer::Side KvLayer::grown(const Side& side, int64_t size) const {
  const int64_t row_bytes = head_dim_ * format_->number_bytes;
  const int64_t kept = round_up(positions_, kPanelCols);
  Side next;
  next.numbers = AlignedBuffer<std::byte>(static_cast<size_t>(heads_ * size * row_bytes));
  if (format_->scaled) next.scales = AlignedBuffer<float>(static_cast<size_t>(heads_ * size));
  for (int64_t h = 0; h < heads_ && kept > 0; ++h) {
    std::memcpy(next.numbers.data() + h * size * row_bytes, numbers_at(side, h, 0),
                static_cast<size_t>(kept * row_bytes));
    if (format_->scaled) std::copy_n(scales_at(side, h, 0), kept, next.scales.data() + h * size);
  }
  return next;
}

void KvLayer::grow(int64_t size) {
  TWOFOLD_ASSERT(size % kPanelCols == 0 && size >= positions_);
  keys_ = grown(keys_, size);
  values_ = grown(values_, size);
  allocated_ = size;
}

void KvLayer::extend(int64_t first, int64_t count) {
  TWOFOLD_ASSERT(first + count <= allocated_);
  positions_ = first + count;
  // Whole panels of keys are read: new ones start as zeros.
  const int64_t begin = round_up(first, kPanelCols), end = round_up(positions_, kPanelCols);
  for (int64_t h = 0; h < heads_ && begin < end; ++h) {
    const size_t offset = static_cast<size_t>(h * allocated_ + begin);
    const size_t row_bytes = static_cast<size_t>(head_dim_ * format_->number_bytes);
    std::memset(keys_.numbers.data() + offset * row_bytes, 0,
                static_cast<size_t>(end - begin) * row_bytes);
    if (format_->scaled) std::fill_n(keys_.scales.data() + offset, end - begin, 0.0f);
  }
}

void KvLayer::write(int64_t first, Matrix<const float> k, Matrix<const float> v, Isa isa) {
  const Ops& op = ops(isa);
  RowScratch& scratch = row_scratch();
  scratch.rotated.ensure(static_cast<size_t>(head_dim_));
  scratch.numbers.ensure(static_cast<size_t>(head_dim_ * format_->number_bytes));
  const float norm = static_cast<float>(1.0 / std::sqrt(static_cast<double>(rotation_)));
  const auto put = [&](const float* x, Side& side, int64_t h, int64_t position, int64_t number,
                       int64_t stride) {
    if (rotation_ > 1) {
      std::copy_n(x, head_dim_, scratch.rotated.data());
      op.hadamard(scratch.rotated.data(), head_dim_, rotation_);
      op.scale(norm, scratch.rotated.data(), head_dim_);
      x = scratch.rotated.data();
    }
    const int64_t at = (h * allocated_ * head_dim_ + number) * format_->number_bytes;
    float* scale = format_->scaled ? side.scales.data() + h * allocated_ + position : nullptr;
    format_->store(op, x, head_dim_, scratch.numbers.data(), side.numbers.data() + at, stride,
                   scale);
  };
  for (int64_t r = 0; r < k.rows; ++r) {
    const int64_t position = first + r, lane = position % kPanelCols;
    for (int64_t h = 0; h < heads_; ++h) {
      put(k.row(r).data() + h * head_dim_, keys_, h, position, (position - lane) * head_dim_ + lane,
          kPanelCols);
      put(v.row(r).data() + h * head_dim_, values_, h, position, position * head_dim_, 1);
    }
  }
}

KvCache::KvCache(const ModelConfig& config, int64_t capacity, const KvFormat& format)
    : capacity_(capacity), expected_(capacity) {
  layers_.reserve(static_cast<size_t>(config.layers));
  for (int64_t i = 0; i < config.layers; ++i) layers_.emplace_back(config, format);
}

int64_t KvCache::bytes() const {
  int64_t total = 0;
  for (const KvLayer& layer : layers_) total += layer.bytes();
  return total;
}

void KvCache::reserve(int64_t count) {
  const int64_t needed = length_ + count;
  if (needed > capacity_) {
    fail(ErrorCode::kInvalidArgument, "context",
         "{} positions are needed, but the context holds {}", needed, capacity_);
  }
  if (needed <= allocated_) return;
  // Doubling keeps the copies of a long generation linear in its length.
  const int64_t size = std::max(round_up(needed, kStep), 2 * allocated_);
  allocated_ = std::min(round_up(capacity_, kPanelCols), size);
  for (KvLayer& layer : layers_) layer.grow(allocated_);
}

}  // namespace twofold

// KvCache: keys and values of one sequence, in one of the forms of kv_formats(). Grows in steps of
// positions up to a fixed capacity. Per layer and key-value head: keys transposed in blocks of
// kPanelCols positions, [positions / kPanelCols][head_dim][kPanelCols], so that scores are sums of
// neighbours; values [positions][head_dim]; for 8 bits a float32 scale per position.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "engine/kv_source.h"
#include "model/config.h"
#include "tensor/ops.h"

namespace twofold {

/// One way to store keys and values. Functions take one head: x [n] are a position's numbers, n =
/// head_dim.
struct KvFormat {
  std::string_view name, help;
  int64_t number_bytes;
  bool scaled;  // a scale per position, and vectors rotated (KvSource::rotation) before rounding
  /// Puts x at `to`, `stride` numbers apart. @param row [n] scratch of numbers.
  void (*store)(const Ops& op, const float* x, int64_t n, std::byte* row, std::byte* to,
                int64_t stride, float* scale);
  /// from [n, kPanelCols] -> floats, in place or in `scratch`; scales [kPanelCols].
  const float* (*load_keys)(const Ops& op, const std::byte* from, const float* scales, int64_t n,
                            float* scratch);
  /// from [rows, n] -> floats, in place or in `scratch`; scales [rows].
  const float* (*load_values)(const Ops& op, const std::byte* from, const float* scales,
                              int64_t rows, int64_t n, float* scratch);
};

/// f32 (the exact one, first), f16, q8.
std::span<const KvFormat> kv_formats();
/// @throws Error(kInvalidArgument) listing the names.
const KvFormat& find_kv_format(std::string_view name);

/// Keys and values of one layer.
class KvLayer : public KvSource {
 public:
  KvLayer(const ModelConfig& config, const KvFormat& format);
  int64_t positions() const override { return positions_; }
  int64_t rotation() const override { return rotation_; }
  const float* keys(int64_t head, int64_t begin, float* scratch, Isa isa) const override;
  Matrix<const float> values(int64_t head, int64_t begin, int64_t count, float* scratch,
                             Isa isa) const override;

  int64_t bytes() const;
  /// Makes room for `size` positions, a multiple of kPanelCols, and keeps those there are.
  void grow(int64_t size);
  /// Positions [first, first + count) will be written and be the last.
  void extend(int64_t first, int64_t count);
  /// Writes rows k and v [count, kv_heads * head_dim] from position `first` on. Different positions
  /// may be written at the same time.
  void write(int64_t first, Matrix<const float> k, Matrix<const float> v, Isa isa);

 private:
  struct Side {
    AlignedBuffer<std::byte> numbers;
    AlignedBuffer<float> scales;  // [kv_heads, allocated], or empty
  };
  const std::byte* numbers_at(const Side& side, int64_t head, int64_t position) const;
  const float* scales_at(const Side& side, int64_t head, int64_t position) const;
  Side grown(const Side& side, int64_t size) const;

  const KvFormat* format_;
  int64_t heads_, head_dim_, rotation_;
  int64_t allocated_ = 0, positions_ = 0;
  Side keys_, values_;
};

class KvCache {
 public:
  /// @param capacity most positions it will hold. Memory is taken as positions are used.
  KvCache(const ModelConfig& config, int64_t capacity,
          const KvFormat& format = kv_formats().front());
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }
  int64_t bytes() const;

  KvLayer& layer(int64_t i) { return layers_[static_cast<size_t>(i)]; }
  /// Makes room for `count` more positions. @throws Error(kInvalidArgument) beyond the capacity.
  void reserve(int64_t count);
  /// Positions the sequence will come to have, as far as is known; at first the capacity. More than
  /// that count as they come. LongRoPE has other angles for long sequences.
  void expect(int64_t length) { expected_ = length; }
  int64_t expected() const { return expected_; }
  /// What was expected when the last keys were turned.
  int64_t turned_for() const { return turned_for_; }
  void advance(int64_t count) {
    length_ += count;
    turned_for_ = std::max(expected_, length_);
  }
  /// Forgets the positions from `length` on; does nothing if there are none.
  void truncate(int64_t length) { length_ = std::min(length_, length); }

 private:
  int64_t capacity_, expected_;
  int64_t length_ = 0, allocated_ = 0, turned_for_ = 0;
  std::vector<KvLayer> layers_;
};

}  // namespace twofold

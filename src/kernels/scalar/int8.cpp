// The integer kernel in plain C++: every kind of weights, the definition of kernel.h written out.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "formats/r16.h"
#include "formats/r16_bytes.h"
#include "kernels/kernel.h"
#include "kernels/tables.h"

namespace twofold {
namespace {

constexpr int64_t kSegmentCodes = 128;  // most columns of a segment
constexpr int kTableEntries = 256;

/// What the rows of a block share, one row and one group at a time.
class RowReader {
 public:
  RowReader(const PackedView& w, int64_t block)
      : w_(w),
        code_(w.kind.values == WeightValues::kTrellis ? r16_trellis_code(w.kind.bits)
                                                      : r16_code(w.kind.bits, w.kind.planes)),
        block_(reinterpret_cast<const std::byte*>(w.blob) + block * w.block_bytes) {
    if (w.kind.values == WeightValues::kTrellis) {
      TrellisMixing mixing;
      std::copy_n(w.mixing, mixing.size(), mixing.begin());
      trellis_ = trellis_reader(w.kind.bits, w.kind.window, mixing);
      scheme_.bits = kTrellisIndexBits;
      return;
    }
    scheme_.bits = w.kind.bits;
    scheme_.planes = w.kind.planes;
    if (w.kind.values == WeightValues::kWideTable) scheme_.level_type = LevelType::kInt16;
  }

  /// u - bias for every code of row r in group g.
  void load_values(int64_t g, int64_t r) {
    const int count = 1 << scheme_.bits;
    if (w_.kind.values == WeightValues::kAffine) {
      for (int i = 0; i < count; ++i) values_[i] = i - static_cast<int32_t>(w_.bias);
      return;
    }
    float levels[kTableEntries];
    const std::byte* table = reinterpret_cast<const std::byte*>(w_.shared_table);
    if (w_.table_sets != 0) {
      const int64_t set = w_.table_sets > 1 ? g : 0;
      table = block_ + w_.tables_at + (set * kBlockRows + r) * w_.table_bytes;
    }
    load_table(scheme_, table, levels);
    for (int i = 0; i < count; ++i) values_[i] = static_cast<int32_t>(levels[i]);
  }

  /// The weights of columns [begin, begin + n) of group g.
  void load_segment(int64_t g, int64_t r, int64_t begin, int64_t n) {
    if (w_.kind.values == WeightValues::kTrellis) {
      uint8_t indices[kSegmentCodes];
      r16_expand_indices(trellis_, block_, r, begin, n, indices);
      for (int64_t c = 0; c < n; ++c) weights_[c] = values_[indices[c]];
      return;
    }
    const std::byte* lines =
        block_ + g * w_.group_bytes + begin / code_.step * code_.step_lines * kLineBytes;
    alignas(64) uint32_t words[kSegmentCodes / 4];
    r16_expand_codes(code_, lines + r * 4, (n + code_.step - 1) / code_.step, words);
    const auto* codes = reinterpret_cast<const uint8_t*>(words);
    for (int64_t c = 0; c < n; ++c) weights_[c] = values_[codes[c]];
  }

  int32_t dot(const int8_t* x, int64_t n) const {
    int32_t sum = 0;
    for (int64_t c = 0; c < n; ++c) sum += weights_[c] * x[c];
    return sum;
  }

  float scale(int64_t g, int64_t r) const {
    if (w_.scale_sets == 0) return w_.matrix_scale * w_.power;
    return load_f16(block_, w_.scales_at, set_of(g), r) * w_.power;
  }

  float shift(int64_t g, int64_t r, float scale) const {
    if (w_.kind.values != WeightValues::kAffine) {
      return w_.has_offset ? load_f16(block_, w_.offsets_at, set_of(g), r) : 0.0f;
    }
    float zero = w_.fixed_zero;
    if (w_.zero_bytes == 2) zero = load_f16(block_, w_.zeros_at, set_of(g), r);
    if (w_.zero_bytes == 1) {
      zero = static_cast<float>(load<uint8_t>(block_ + w_.zeros_at + set_of(g) * kBlockRows + r));
    }
    return -(scale * (zero - w_.bias));
  }

 private:
  int64_t set_of(int64_t g) const { return w_.scale_sets > 1 ? g : 0; }

  const PackedView& w_;
  R16Code code_;
  const std::byte* block_;
  Scheme scheme_;  // only what load_table reads
  TrellisReader trellis_;
  int32_t values_[kTableEntries];
  int32_t weights_[kSegmentCodes];
};

void multiply_row(const MatmulArgs& args, RowReader& reader, int64_t row) {
  const PackedView& w = *args.weights;
  const Int8Rows& x = args.x;
  const int64_t r = row % kBlockRows;
  const int64_t per_group = (w.group + x.segment - 1) / x.segment;
  for (int64_t i = 0; i < args.m; ++i) args.y[i * args.y_stride + row] = 0;
  // The sums of a group are kept for a few rows of activations at a time.
  constexpr int64_t kRowsAtOnce = 32;
  for (int64_t g = 0; g < w.groups; ++g) {
    reader.load_values(g, r);
    const float scale = reader.scale(g, r), shift = reader.shift(g, r, scale);
    for (int64_t first = 0; first < args.m; first += kRowsAtOnce) {
      const int64_t rows = std::min(kRowsAtOnce, args.m - first);
      float sums[kRowsAtOnce] = {};
      for (int64_t s = g * per_group; s < std::min((g + 1) * per_group, x.segments); ++s) {
        const int64_t begin = s * x.segment, n = std::min(x.segment, w.cols - begin);
        reader.load_segment(g, r, begin - g * w.group, n);
        for (int64_t i = 0; i < rows; ++i) {
          const int32_t sum = reader.dot(x.values + (first + i) * x.stride + begin, n);
          sums[i] =
              std::fma(x.scales[(first + i) * x.segments + s], static_cast<float>(sum), sums[i]);
        }
      }
      for (int64_t i = 0; i < rows; ++i) {
        float& y = args.y[(first + i) * args.y_stride + row];
        y = std::fma(shift, x.group_sums[(first + i) * w.groups + g], std::fma(scale, sums[i], y));
      }
    }
  }
}

void run(const MatmulArgs& args) {
  for (int64_t block = args.block_begin; block < args.block_end; ++block) {
    RowReader reader(*args.weights, block);
    const int64_t end = std::min((block + 1) * kBlockRows, args.weights->rows);
    for (int64_t row = block * kBlockRows; row < end; ++row) multiply_row(args, reader, row);
  }
}

bool accepts(const WeightKind& /*kind*/) { return true; }

constexpr Kernel kKernels[] = {{.name = "int8-scalar",
                                .isa = Isa::kScalar,
                                .min_m = 1,
                                .max_m = std::numeric_limits<int64_t>::max(),
                                .accepts = accepts,
                                .scratch_bytes = nullptr,
                                .run = run}};

void round_row(const float* x, int64_t n, int64_t block, int8_t* values, float* scales,
               int32_t* sums) {
  for (int64_t begin = 0; begin < n; begin += block) {
    const int64_t end = std::min(begin + block, n);
    uint32_t largest_bits =
        0;  // of magnitudes: ordered as the numbers are, infinities and NaN last
    for (int64_t c = begin; c < end; ++c) {
      largest_bits = std::max(largest_bits, std::bit_cast<uint32_t>(std::fabs(x[c])));
    }
    const BlockScale scale = block_scale(std::bit_cast<float>(largest_bits));
    scales[begin / block] = scale.scale;
    for (int64_t c = begin; c < end; ++c) {
      values[c] = scale.inverse == 0 ? int8_t{0}
                                     : static_cast<int8_t>(std::nearbyint(x[c] * scale.inverse));
    }
  }
  for (int64_t c = n; c < (n + kInt8Padding - 1) / kInt8Padding * kInt8Padding; ++c) values[c] = 0;
  for (int64_t begin = 0; begin < n; begin += kSumColumns) {
    int32_t sum = 0;
    for (int64_t c = begin; c < std::min(begin + kSumColumns, n); ++c) sum += values[c];
    sums[begin / kSumColumns] = sum;
  }
}

}  // namespace

const KernelList kKernelsScalar = {kKernels, 1};
const RowRounding kRowRoundingScalar = {round_row};

}  // namespace twofold

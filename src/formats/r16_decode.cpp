// Fast decoding of R16 rows in plain C++. A 32-bit lane holds one row's four code bytes, so
// shifting and masking lanes gives four neighbouring codes at once as the bytes of a word; those
// are then widened to floats. Columns are done in segments that stay in the first-level cache.
#include <cmath>
#include <cstring>

#include "formats/r16.h"
#include "formats/r16_bytes.h"

namespace twofold {
namespace {

constexpr int64_t kSegment = 256;  // columns; a multiple of every step

/// Adds a field of a row's codes to `words`, four codes to a word, for `steps` steps.
/// @param lines first line of the field in the first step.   @param stride bytes between steps.
template <int kWidth, bool kFirst>
void expand_field(const std::byte* lines, int64_t stride, int64_t steps, int64_t step_lines,
                  int shift, uint32_t* words) {
  constexpr uint32_t kByteMask = (1u << kWidth) - 1;
  constexpr uint32_t kMask = kByteMask * 0x01010101u;
  for (int64_t s = 0; s < steps; ++s) {
    for (int64_t l = 0; l < step_lines; ++l) {
      const uint32_t lane = load<uint32_t>(lines + s * stride + l * kLineBytes);
      for (int p = 0; p < 8 / kWidth; ++p) {
        const uint32_t part = ((lane >> (p * kWidth)) & kMask) << shift;
        if constexpr (kFirst) {
          *words++ = part;
        } else {
          *words++ |= part;
        }
      }
    }
  }
}

template <bool kFirst>
void expand_width(const R16Field& field, const std::byte* lines, const R16Code& code, int64_t steps,
                  uint32_t* words) {
  const std::byte* first = lines + field.first * kLineBytes;
  const int64_t stride = code.step_lines * kLineBytes;
  const int64_t n = code.step / field.span;
  switch (field.width) {
    case 8:
      return expand_field<8, kFirst>(first, stride, steps, n, field.shift, words);
    case 4:
      return expand_field<4, kFirst>(first, stride, steps, n, field.shift, words);
    case 2:
      return expand_field<2, kFirst>(first, stride, steps, n, field.shift, words);
    default:
      return expand_field<1, kFirst>(first, stride, steps, n, field.shift, words);
  }
}

/// Bit i of the low half of a byte as byte i.
uint32_t spread_bits(uint32_t nibble) { return ((nibble & 15u) * 0x00204081u) & 0x01010101u; }

/// `expand_field` for a pair of planes or a single one; ORs into `words`, which start as 0.
void expand_planes(const R16Field& field, const std::byte* lines, const R16Code& code,
                   int64_t steps, uint32_t* words) {
  const int64_t count = code.step / field.span;
  for (int64_t s = 0; s < steps; ++s) {
    for (int64_t l = 0; l < count; ++l) {
      const uint32_t lane =
          load<uint32_t>(lines + (s * code.step_lines + field.first + l) * kLineBytes);
      for (int j = 0; j < 4; ++j) {
        const uint32_t low = spread_bits(lane >> (8 * j)), high = spread_bits(lane >> (8 * j + 4));
        if (field.width == 2) {
          words[j] |= (low | high << 1) << field.shift;
        } else {
          words[j] |= low << field.shift;
          words[j + 4] |= high << field.shift;
        }
      }
      words += field.span / 4;
    }
  }
}

void affine_values(const uint8_t* codes, int64_t n, float scale, float zero, float* out) {
  for (int64_t c = 0; c < n; ++c) out[c] = scale * (static_cast<float>(codes[c]) - zero);
}

void table_values(const uint8_t* codes, int64_t n, const float* values, float* out) {
  for (int64_t c = 0; c < n; ++c) out[c] = values[codes[c]];
}

/// The decoder of one matrix for the length of one call.
class Decoder {
 public:
  explicit Decoder(const PackedMatrix& packed)
      : scheme_(packed.format.scheme),
        layout_(r16_layout(scheme_, packed.rows, packed.cols, packed.format.name)),
        blob_(packed.bytes.view.bytes.data()),
        tail_(load_tail(layout_, blob_)),
        power_(std::ldexp(1.0f, tail_.level_exponent)) {
    if (scheme_.kind == ValueKind::kAffine && layout_.zero_bytes == 0) {
      tail_.zero = fixed_zero(scheme_.zero, scheme_.bits);
    }
    if (scheme_.kind == ValueKind::kTable && layout_.table_sets == 0) {
      load_levels(levels_of(layout_, blob_, blob_, 0, 0));
    }
  }

  /// Rows [begin, end) of one block; `out` is where row `begin` goes.
  void decode(int64_t begin, int64_t end, float* out, int64_t stride) {
    const std::byte* block = blob_ + begin / kBlockRows * layout_.block_bytes;
    for (int64_t g = 0; g < layout_.groups; ++g) {
      const std::byte* lines = block + g * layout_.group_bytes;
      const int64_t cols = layout_.group_cols(g);
      for (int64_t c = 0; c < cols; c += kSegment) {
        const int64_t n = std::min(kSegment, cols - c);
        const int64_t steps = (n + layout_.code.step - 1) / layout_.code.step;
        const std::byte* segment =
            lines + c / layout_.code.step * layout_.code.step_lines * kLineBytes;
        for (int64_t row = begin; row < end; ++row) {
          const int64_t r = row % kBlockRows;
          alignas(64) uint32_t words[kSegment / 4];
          r16_expand_codes(layout_.code, segment + r * 4, steps, words);
          write_values(block, g, r, reinterpret_cast<const uint8_t*>(words), n,
                       out + (row - begin) * stride + g * layout_.group + c);
        }
      }
    }
  }

 private:
  void load_levels(const std::byte* from) {
    load_table(scheme_, from, levels_);
    for (int64_t i = 0; i < int64_t{1} << scheme_.bits; ++i) levels_[i] *= power_;
  }

  void write_values(const std::byte* block, int64_t g, int64_t r, const uint8_t* codes, int64_t n,
                    float* out) {
    const int64_t set = layout_.scale_sets > 1 ? g : 0;
    const float scale =
        layout_.scale_sets == 0 ? tail_.scale : load_f16(block, layout_.scales_at, set, r);
    if (scheme_.kind == ValueKind::kAffine) {
      const bool own_zero = layout_.zero_bytes != 0 && layout_.scale_sets != 0;
      affine_values(codes, n, scale, own_zero ? load_zero(layout_, block, set, r) : tail_.zero,
                    out);
      return;
    }
    if (layout_.table_sets != 0) {
      load_levels(levels_of(layout_, blob_, block, layout_.table_sets > 1 ? g : 0, r));
    }
    alignas(64) float values[256];
    const int64_t count = int64_t{1} << scheme_.bits;
    for (int64_t i = 0; i < count; ++i) values[i] = scale * levels_[i];
    if (scheme_.has_offset) {
      const float offset = load_f16(block, layout_.offsets_at, set, r);
      for (int64_t i = 0; i < count; ++i) values[i] += offset;
    }
    table_values(codes, n, values, out);
  }

  Scheme scheme_;
  R16Layout layout_;
  const std::byte* blob_;
  R16Tail tail_;
  float power_;
  float levels_[256];
};

}  // namespace

void r16_expand_codes(const R16Code& code, const std::byte* lines, int64_t steps, uint32_t* words) {
  if (code.planes) {
    std::memset(words, 0, static_cast<size_t>(steps * code.step));
    for (int i = 0; i < code.fields; ++i) {
      expand_planes(code.field[static_cast<size_t>(i)], lines, code, steps, words);
    }
    return;
  }
  expand_width<true>(code.field[0], lines, code, steps, words);
  for (int i = 1; i < code.fields; ++i) {
    expand_width<false>(code.field[static_cast<size_t>(i)], lines, code, steps, words);
  }
}

void r16_decode_rows(const PackedMatrix& packed, int64_t begin, int64_t count, float* out,
                     int64_t stride) {
  Decoder decoder(packed);
  for (int64_t row = begin; row < begin + count;) {
    const int64_t end = std::min(begin + count, (row / kBlockRows + 1) * kBlockRows);
    decoder.decode(row, end, out + (row - begin) * stride, stride);
    row = end;
  }
}

}  // namespace twofold

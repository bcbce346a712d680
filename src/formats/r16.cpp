#include "formats/r16.h"

#include <cmath>

#include "base/checked_math.h"
#include "formats/r16_bytes.h"

namespace twofold {
namespace {

/// The lane of one row on one line of a field. @param codes [n] of the line's span, n <= span.
uint32_t lane_of(const R16Field& field, const uint16_t* codes, int64_t n) {
  const uint32_t mask = (1u << field.width) - 1;
  uint32_t lane = 0;
  for (int64_t k = 0; k < n; ++k) {
    const int64_t at = 8 * (k % 4) + k / 4 * field.width;
    lane |= ((static_cast<uint32_t>(codes[k]) >> field.shift) & mask) << at;
  }
  return lane;
}

/// `lane_of` for whole lines: four codes at a time, which are the bytes of a word in order.
/// @param codes [steps, step].   @param line of the field in the first step, at the row.
template <int kWidth>
void write_full_lanes(const R16Code& code, int shift, const uint16_t* codes, int64_t steps,
                      std::byte* line) {
  constexpr uint64_t kMask = ((uint64_t{1} << kWidth) - 1) * 0x0001000100010001u;
  constexpr int64_t kSpan = 32 / kWidth;
  const int64_t lines = code.step / kSpan;
  for (int64_t s = 0; s < steps; ++s, line += code.step_lines * kLineBytes) {
    for (int64_t l = 0; l < lines; ++l, codes += kSpan) {
      uint32_t lane = 0;
      for (int part = 0; part < 8 / kWidth; ++part) {
        uint64_t four;
        std::memcpy(&four, codes + 4 * part, sizeof(four));
        four = four >> shift & kMask;
        four = (four | four >> 8) & 0x0000ffff0000ffffu;
        lane |= static_cast<uint32_t>(four | four >> 16) << (part * kWidth);
      }
      store(line + l * kLineBytes, lane);
    }
  }
}

void write_full_lanes(const R16Code& code, const R16Field& field, const uint16_t* codes,
                      int64_t steps, std::byte* line) {
  switch (field.width) {
    case 8:
      return write_full_lanes<8>(code, field.shift, codes, steps, line);
    case 4:
      return write_full_lanes<4>(code, field.shift, codes, steps, line);
    case 2:
      return write_full_lanes<2>(code, field.shift, codes, steps, line);
    default:
      return write_full_lanes<1>(code, field.shift, codes, steps, line);
  }
}

/// `lane_of` for a line of planes.
uint32_t plane_lane_of(const R16Field& field, const uint16_t* codes, int64_t n) {
  uint32_t lane = 0;
  for (int64_t k = 0; k < n; ++k) {
    for (int p = 0; p < field.width; ++p) {
      const uint32_t bit = static_cast<uint32_t>(codes[k]) >> (field.shift + p) & 1u;
      lane |= bit << plane_bit(field, p, k);
    }
  }
  return lane;
}

/// The code lines of one row's group. @param codes [cols].  @param lines of the group, at the row.
void write_group(const R16Code& code, const uint16_t* codes, int64_t cols, std::byte* lines) {
  const int64_t full = code.planes ? 0 : cols / code.step;
  for (int i = 0; i < code.fields; ++i) {
    const R16Field& field = code.field[static_cast<size_t>(i)];
    std::byte* first = lines + field.first * kLineBytes;
    write_full_lanes(code, field, codes, full, first);
    for (int64_t step = full; step * code.step < cols; ++step) {
      std::byte* line = first + step * code.step_lines * kLineBytes;
      const int64_t end = std::min(cols, (step + 1) * code.step);
      for (int64_t c = step * code.step; c < end; c += field.span, line += kLineBytes) {
        const int64_t n = std::min(field.span, end - c);
        store(line,
              code.planes ? plane_lane_of(field, codes + c, n) : lane_of(field, codes + c, n));
      }
    }
  }
}

void write_codes(const QuantizedMatrix& q, const R16Layout& layout, int64_t row, std::byte* block) {
  for (int64_t g = 0; g < layout.groups; ++g) {
    write_group(layout.code, q.codes.data() + row * q.cols + g * layout.group, layout.group_cols(g),
                block + g * layout.group_bytes + row % kBlockRows * 4);
  }
}

/// Index in q's parameter vectors of set `set` of `row`; `sets` sets per row, 0 = one for all.
size_t parameter_at(int64_t sets, int64_t row, int64_t set) {
  return sets == 0 ? 0 : static_cast<size_t>(row * sets + set);
}

void write_level(LevelType type, float level, std::byte* to) {
  switch (type) {
    case LevelType::kInt8:
      return store(to, static_cast<int8_t>(level));
    case LevelType::kInt16:
      return store(to, static_cast<int16_t>(level));
    case LevelType::kFloat32:
      return store(to, level);
  }
}

void write_parameters(const QuantizedMatrix& q, const R16Layout& layout, int64_t row,
                      std::byte* block) {
  const int64_t r = row % kBlockRows;
  for (int64_t set = 0; set < layout.scale_sets; ++set) {
    const size_t from = parameter_at(layout.scale_sets, row, set);
    const int64_t to = set * kBlockRows + r;
    store(block + layout.scales_at + 2 * to, to_float16(q.scale[from]).bits);
    if (layout.zero_bytes == 1) {
      store(block + layout.zeros_at + to, static_cast<uint8_t>(q.zero[from]));
    }
    if (layout.zero_bytes == 2) {
      store(block + layout.zeros_at + 2 * to, to_float16(q.zero[from]).bits);
    }
    if (q.scheme.has_offset) {
      store(block + layout.offsets_at + 2 * to, to_float16(q.offset[from]).bits);
    }
  }
  const int64_t levels = int64_t{1} << q.scheme.bits;
  for (int64_t set = 0; set < layout.table_sets; ++set) {
    const float* from =
        q.levels.data() + static_cast<int64_t>(parameter_at(layout.table_sets, row, set)) * levels;
    std::byte* to = block + layout.tables_at + (set * kBlockRows + r) * layout.table_bytes;
    if (q.scheme.planes) {
      for (int p = 0; p < q.scheme.bits; ++p) {
        store(to + p, static_cast<int8_t>((from[int64_t{1} << p] - from[0]) / 2));
      }
      continue;
    }
    for (int64_t i = 0; i < levels; ++i) {
      write_level(q.scheme.level_type, from[i], to + i * layout.level_bytes);
    }
  }
}

void write_tail(const QuantizedMatrix& q, const R16Layout& layout, std::byte* tail) {
  if (layout.scale_sets == 0) {
    store(tail, q.scale[0]);
    store(tail + 4, q.zero.empty() ? 0.0f : q.zero[0]);
  }
  store(tail + 8, static_cast<int32_t>(q.scheme.level_exponent));
  if (q.scheme.kind == ValueKind::kTable && layout.table_sets == 0) {
    for (size_t i = 0; i < q.levels.size(); ++i) {
      write_level(q.scheme.level_type, q.levels[i],
                  tail + kTailHeaderBytes + static_cast<int64_t>(i) * layout.level_bytes);
    }
  }
}

/// The bits of one field of planes, in their places in the code.
unsigned read_planes(const R16Code& code, const R16Field& field, const std::byte* lines,
                     int64_t row, int64_t col) {
  const int64_t in_step = col % code.step;
  const int64_t line = col / code.step * code.step_lines + field.first + in_step / field.span;
  const uint32_t lane = load<uint32_t>(lines + line * kLineBytes + row * 4);
  unsigned bits = 0;
  for (int p = 0; p < field.width; ++p) {
    bits |= (lane >> plane_bit(field, p, in_step % field.span) & 1u) << (field.shift + p);
  }
  return bits;
}

unsigned read_code(const R16Layout& layout, const std::byte* lines, int64_t row, int64_t col) {
  unsigned code = 0;
  for (int i = 0; i < layout.code.fields; ++i) {
    const R16Field& field = layout.code.field[static_cast<size_t>(i)];
    if (layout.code.planes) {
      code |= read_planes(layout.code, field, lines, row, col);
      continue;
    }
    const R16Place place = r16_place(layout.code, field, row, col);
    const unsigned mask = (1u << field.width) - 1;
    code |= ((static_cast<unsigned>(lines[place.byte]) >> place.shift) & mask) << field.shift;
  }
  return code;
}

void check_finite(float value, std::string_view where, std::string_view what, int64_t row) {
  if (!std::isfinite(value)) {
    fail(ErrorCode::kCorruptFile, where, "{} of row {} is {}, not finite", what, row, value);
  }
}

/// Planes: integers that are not negative and sum to at most 127.
void check_plane_integers(const std::byte* from, int bits, std::string_view where, int64_t row) {
  int sum = 0;
  for (int p = 0; p < bits; ++p) {
    const int n = load<int8_t>(from + p);
    sum += n;
    if (n < 0 || sum > 127) {
      fail(ErrorCode::kCorruptFile, where,
           "planes of row {}: expected integers from 0 with a sum up to 127, found {} (sum {})",
           row, n, sum);
    }
  }
}

void check_tail(const PackedMatrix& packed, const R16Layout& layout, std::string_view where) {
  const Scheme& scheme = packed.format.scheme;
  const std::byte* blob = packed.bytes.view.bytes.data();
  const R16Tail tail = load_tail(layout, blob);
  if (tail.level_exponent < -64 || tail.level_exponent > 64) {
    fail(ErrorCode::kCorruptFile, where, "level exponent {} is not -64 to 64", tail.level_exponent);
  }
  if (!std::isfinite(tail.scale)) {
    fail(ErrorCode::kCorruptFile, where, "scale is {}, not finite", tail.scale);
  }
  const bool whole_zero = layout.zero_bytes == 1;
  const bool zero_ok =
      whole_zero ? tail.zero >= 0 && tail.zero <= 255 && tail.zero == std::nearbyint(tail.zero)
                 : std::isfinite(tail.zero) && round_to_float16(tail.zero) == tail.zero;
  if (!zero_ok) {
    fail(ErrorCode::kCorruptFile, where, "zero {} is not {}", tail.zero,
         whole_zero ? "an integer from 0 to 255" : "a finite binary16 number");
  }
  if (scheme.kind == ValueKind::kTable && scheme.level_type == LevelType::kFloat32) {
    for (int64_t i = 0; i < int64_t{1} << scheme.bits; ++i) {
      const float level = load<float>(blob + layout.tail_at + kTailHeaderBytes + 4 * i);
      if (!std::isfinite(level)) {
        fail(ErrorCode::kCorruptFile, where, "level {} is {}, not finite", i, level);
      }
    }
  }
}

}  // namespace

int64_t r16_packed_bytes(const Format& format, int64_t rows, int64_t cols) {
  return r16_layout(format.scheme, rows, cols, format.name).total_bytes;
}

ByteKinds r16_byte_kinds(const Format& format, int64_t rows, int64_t cols) {
  return r16_byte_kinds(format.scheme, r16_layout(format.scheme, rows, cols, format.name),
                        format.name);
}

void r16_pack(const Format& format, const QuantizedMatrix& q, std::span<std::byte> out,
              ThreadPool& pool) {
  const R16Layout layout = r16_layout(q.scheme, q.rows, q.cols, format.name);
  TWOFOLD_ASSERT(static_cast<int64_t>(out.size()) == layout.total_bytes);
  pool.run(layout.blocks, [&](int64_t b, int /*worker*/) {
    std::byte* block = out.data() + b * layout.block_bytes;
    std::memset(block, 0, static_cast<size_t>(layout.block_bytes));
    const int64_t end = std::min(q.rows, (b + 1) * kBlockRows);
    for (int64_t row = b * kBlockRows; row < end; ++row) {
      write_codes(q, layout, row, block);
      write_parameters(q, layout, row, block);
    }
  });
  const std::span<std::byte> rest =
      out.subspan(static_cast<size_t>(layout.blocks * layout.block_bytes));
  std::ranges::fill(rest, std::byte{0});
  if (layout.tail_bytes != 0) write_tail(q, layout, out.data() + layout.tail_at);
}

QuantizedMatrix r16_unpack(const PackedMatrix& packed) {
  const R16Layout layout =
      r16_layout(packed.format.scheme, packed.rows, packed.cols, packed.format.name);
  const std::byte* blob = packed.bytes.view.bytes.data();
  const R16Tail tail = load_tail(layout, blob);
  QuantizedMatrix q;
  q.scheme = packed.format.scheme;
  q.scheme.level_exponent = tail.level_exponent;
  q.rows = packed.rows;
  q.cols = packed.cols;
  q.codes.resize(static_cast<size_t>(q.rows * q.cols));
  const auto add_levels = [&](const std::byte* from) {
    const size_t begin = q.levels.size();
    q.levels.resize(begin + (size_t{1} << q.scheme.bits));
    load_table(q.scheme, from, q.levels.data() + begin);
  };
  for (int64_t row = 0; row < q.rows; ++row) {
    const std::byte* block = blob + row / kBlockRows * layout.block_bytes;
    const int64_t r = row % kBlockRows;
    for (int64_t c = 0; c < q.cols; ++c) {
      const std::byte* lines = block + c / layout.group * layout.group_bytes;
      q.codes[static_cast<size_t>(row * q.cols + c)] =
          static_cast<uint16_t>(read_code(layout, lines, r, c % layout.group));
    }
    for (int64_t set = 0; set < layout.scale_sets; ++set) {
      q.scale.push_back(load_f16(block, layout.scales_at, set, r));
      if (layout.zero_bytes != 0) q.zero.push_back(load_zero(layout, block, set, r));
      if (q.scheme.has_offset) q.offset.push_back(load_f16(block, layout.offsets_at, set, r));
    }
    for (int64_t set = 0; set < layout.table_sets; ++set) {
      add_levels(levels_of(layout, blob, block, set, r));
    }
  }
  if (layout.scale_sets == 0) {
    q.scale.assign(1, tail.scale);
    if (layout.zero_bytes != 0) q.zero.assign(1, tail.zero);
  }
  if (q.scheme.kind == ValueKind::kTable && layout.table_sets == 0) {
    add_levels(levels_of(layout, blob, blob, 0, 0));
  }
  return q;
}

void r16_decode_row(const PackedMatrix& packed, int64_t row, float* out) {
  const Scheme& scheme = packed.format.scheme;
  const R16Layout layout = r16_layout(scheme, packed.rows, packed.cols, packed.format.name);
  const std::byte* blob = packed.bytes.view.bytes.data();
  const std::byte* block = blob + row / kBlockRows * layout.block_bytes;
  const int64_t r = row % kBlockRows;
  const R16Tail tail = load_tail(layout, blob);
  const float power = std::ldexp(1.0f, tail.level_exponent);
  for (int64_t c = 0; c < packed.cols; ++c) {
    const int64_t g = c / layout.group;
    const int64_t set = layout.scale_sets > 1 ? g : 0;
    const unsigned code =
        read_code(layout, block + g * layout.group_bytes, r, c - g * layout.group);
    const float scale =
        layout.scale_sets == 0 ? tail.scale : load_f16(block, layout.scales_at, set, r);
    if (scheme.kind == ValueKind::kAffine) {
      float zero = 0;
      if (layout.zero_bytes == 0) {
        zero = fixed_zero(scheme.zero, scheme.bits);
      } else {
        zero = layout.scale_sets == 0 ? tail.zero : load_zero(layout, block, set, r);
      }
      out[c] = scale * (static_cast<float>(code) - zero);
      continue;
    }
    const std::byte* levels = levels_of(layout, blob, block, layout.table_sets > 1 ? g : 0, r);
    float table[256];
    load_table(scheme, levels, table);
    out[c] = scale * (table[code] * power);
    if (scheme.has_offset) out[c] += load_f16(block, layout.offsets_at, set, r);
  }
}

void r16_check(const PackedMatrix& packed, std::string_view where) {
  const R16Layout layout = r16_layout(packed.format.scheme, packed.rows, packed.cols, where);
  const int64_t found = static_cast<int64_t>(packed.bytes.view.bytes.size());
  if (found != layout.total_bytes) {
    fail(ErrorCode::kCorruptFile, where, "{} [{}, {}] has {} bytes, found {}", packed.format.name,
         packed.rows, packed.cols, layout.total_bytes, found);
  }
  const std::byte* blob = packed.bytes.view.bytes.data();
  for (int64_t row = 0; row < packed.rows; ++row) {
    const std::byte* block = blob + row / kBlockRows * layout.block_bytes;
    const int64_t r = row % kBlockRows;
    for (int64_t set = 0; set < layout.scale_sets; ++set) {
      check_finite(load_f16(block, layout.scales_at, set, r), where, "scale", row);
      if (layout.zero_bytes == 2) {
        check_finite(load_zero(layout, block, set, r), where, "zero", row);
      }
      if (packed.format.scheme.has_offset) {
        check_finite(load_f16(block, layout.offsets_at, set, r), where, "offset", row);
      }
    }
  }
  if (packed.format.scheme.planes) {
    for (int64_t row = 0; row < packed.rows; ++row) {
      const std::byte* block = blob + row / kBlockRows * layout.block_bytes;
      for (int64_t set = 0; set < layout.table_sets; ++set) {
        check_plane_integers(levels_of(layout, blob, block, set, row % kBlockRows),
                             packed.format.scheme.bits, where, row);
      }
    }
  }
  if (layout.tail_bytes != 0) check_tail(packed, layout, where);
}

FormatFamily r16_family(const R16Family& own) {
  return {.name = own.name,
          .help = own.help,
          .dense = false,
          .parse = own.parse,
          .name_for = own.name_for,
          .packed_bytes = r16_packed_bytes,
          .byte_kinds = r16_byte_kinds,
          .pack = r16_pack,
          .unpack = r16_unpack,
          .decode_row = r16_decode_row,
          .decode_rows = r16_decode_rows,
          .check = r16_check,
          .example_names = own.example_names};
}

}  // namespace twofold

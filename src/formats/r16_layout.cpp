#include "formats/r16_layout.h"

#include <algorithm>

#include "base/checked_math.h"

namespace twofold {
namespace {

constexpr int64_t kLargestSide = int64_t{1} << 40;

int64_t sets_per_row(Sharing sharing, int64_t groups) {
  switch (sharing) {
    case Sharing::kMatrix:
      return 0;
    case Sharing::kRow:
      return 1;
    case Sharing::kGroup:
      return groups;
  }
  return 0;
}

int64_t bytes_of(LevelType type) {
  switch (type) {
    case LevelType::kInt8:
      return 1;
    case LevelType::kInt16:
      return 2;
    case LevelType::kFloat32:
      return 4;
  }
  return 0;
}

int64_t code_bytes(const R16Code& code, int64_t cols) {
  return ceil_div(cols, code.step) * code.step_lines * kLineBytes;
}

}  // namespace

R16Code r16_code(int bits, bool planes) {
  TWOFOLD_ASSERT(planes ? bits >= 1 && bits <= 4 : bits >= 2 && bits <= 8);
  R16Code code;
  code.planes = planes;
  int shift = 0;
  for (int width : {8, 4, 2, 2, 1}) {
    // Planes come in pairs as long as two are left; other codes have each power of two once.
    const bool part =
        planes ? width <= 2 && bits - shift >= width : (bits & width) != 0 && (shift & width) == 0;
    if (!part) continue;
    code.field[static_cast<size_t>(code.fields++)] = {
        .width = width, .shift = shift, .span = 32 / width, .first = 0};
    shift += width;
    code.step = 32 / width;
  }
  for (int i = 0; i < code.fields; ++i) {
    R16Field& field = code.field[static_cast<size_t>(i)];
    field.first = code.step_lines;
    code.step_lines += code.step / field.span;
  }
  return code;
}

R16Code r16_trellis_code(int bits) {
  R16Code code;
  code.step = kTrellisStep;
  code.step_lines = bits;
  return code;
}

R16Layout r16_layout(const Scheme& scheme, int64_t rows, int64_t cols, std::string_view where) {
  if (rows < 1 || cols < 1 || rows > kLargestSide || cols > kLargestSide) {
    fail(ErrorCode::kCorruptFile, where, "expected a matrix, found shape [{}, {}]", rows, cols);
  }
  R16Layout out;
  const bool trellis = scheme.kind == ValueKind::kTrellis;
  out.code = trellis ? r16_trellis_code(scheme.bits) : r16_code(scheme.bits, scheme.planes);
  out.rows = rows;
  out.cols = cols;
  out.group = scheme.group > 0 ? std::min(scheme.group, cols) : cols;
  out.groups = ceil_div(cols, out.group);
  out.group_bytes = code_bytes(out.code, out.group);

  const bool affine = scheme.kind == ValueKind::kAffine;
  out.scale_sets = sets_per_row(scheme.scale_sharing, out.groups);
  out.table_sets = affine ? 0 : sets_per_row(scheme.table_sharing, out.groups);
  if (affine && scheme.zero == ZeroKind::kUnsigned) out.zero_bytes = 1;
  if (affine && scheme.zero == ZeroKind::kFloat) out.zero_bytes = 2;
  out.level_bytes = affine ? 0 : bytes_of(scheme.level_type);
  out.offset_bytes = !affine && scheme.has_offset ? 2 : 0;
  out.table_bytes =
      scheme.planes ? scheme.bits : out.level_bytes << (trellis ? kTrellisIndexBits : scheme.bits);

  const auto add = [&](int64_t a, int64_t b) { return checked_add(a, b, where); };
  const auto mul = [&](int64_t a, int64_t b) { return checked_mul(a, b, where); };
  const int64_t last = code_bytes(out.code, out.group_cols(out.groups - 1));
  out.scales_at = add(mul(out.groups - 1, out.group_bytes), last);
  const int64_t scales = mul(out.scale_sets, kBlockRows);
  out.zeros_at = add(out.scales_at, mul(scales, 2));
  out.offsets_at = add(out.zeros_at, mul(scales, out.zero_bytes));
  out.tables_at = add(out.offsets_at, mul(scales, out.offset_bytes));
  const int64_t tables = mul(mul(out.table_sets, kBlockRows), out.table_bytes);
  out.block_bytes = round_up(add(add(out.tables_at, tables), kLineBytes), kLineBytes) - kLineBytes;
  out.blocks = ceil_div(rows, kBlockRows);
  out.tail_at = mul(out.blocks, out.block_bytes);
  if (!affine || scheme.scale_sharing == Sharing::kMatrix) {
    const bool levels = !affine && scheme.table_sharing == Sharing::kMatrix;
    out.tail_bytes =
        round_up(trellis ? kTrellisTailBytes : kTailHeaderBytes + (levels ? out.table_bytes : 0),
                 kLineBytes);
  }
  out.total_bytes = add(out.tail_at, out.tail_bytes);
  return out;
}

ByteKinds r16_byte_kinds(const Scheme& scheme, const R16Layout& layout, std::string_view where) {
  constexpr int64_t kFloat = 4, kExponent = 4, kScale = 2, kSum = 4;
  const int64_t sets = layout.rows * layout.scale_sets;
  const bool affine = scheme.kind == ValueKind::kAffine;
  ByteKinds kinds;
  const int64_t weights = checked_mul(layout.rows, layout.cols, where);
  kinds.codes = ceil_div(checked_mul(weights, int64_t{scheme.bits}, where), 8);
  kinds.scales = sets > 0 ? sets * kScale : kFloat;
  if (layout.zero_bytes > 0) kinds.zeros = sets > 0 ? sets * layout.zero_bytes : kFloat;
  kinds.offsets = sets * layout.offset_bytes;
  if (!affine) {
    const int64_t tables = layout.table_sets > 0 ? layout.rows * layout.table_sets : 1;
    kinds.tables = kExponent + tables * layout.table_bytes;
  }
  if (scheme.kind == ValueKind::kTrellis) {
    kinds.tables += kTrellisWindowAt + 1 - kTrellisMixingAt + kSum;
  }
  kinds.padding = layout.total_bytes - kinds.sum();
  return kinds;
}

}  // namespace twofold

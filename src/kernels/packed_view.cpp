#include "kernels/packed_view.h"

#include <cmath>

#include "base/cpu.h"
#include "base/error.h"
#include "formats/r16_bytes.h"
#include "kernels/int8_activations.h"

namespace twofold {
namespace {

constexpr int kLargestRowTableBits = 6;

WeightValues values_of(const Scheme& scheme) {
  if (scheme.kind == ValueKind::kAffine) return WeightValues::kAffine;
  if (scheme.kind == ValueKind::kTrellis) return WeightValues::kTrellis;
  if (scheme.table_sharing != Sharing::kMatrix) return WeightValues::kRowTable;
  return scheme.level_type == LevelType::kInt16 ? WeightValues::kWideTable : WeightValues::kTable;
}

float bias_of(const WeightKind& kind) {
  switch (kind.values) {
    case WeightValues::kAffine:
      return static_cast<float>(1 << (kind.bits - 1));
    case WeightValues::kTable:
    case WeightValues::kRowTable:
    case WeightValues::kTrellis:
      return 128;
    case WeightValues::kWideTable:
      return 32768;
  }
  return 0;
}

}  // namespace

std::optional<WeightKind> weight_kind(const Format& format) {
  if (format.is_dense()) return std::nullopt;
  const Scheme& scheme = format.scheme;
  const WeightKind kind = {.values = values_of(scheme),
                           .bits = scheme.bits,
                           .planes = scheme.planes,
                           .window = scheme.window};
  if (scheme.kind == ValueKind::kTable && scheme.level_type == LevelType::kFloat32) return {};
  if (kind.values == WeightValues::kRowTable && kind.bits > kLargestRowTableBits) return {};
  if (scheme.group > 0 && !fits_activation_blocks(scheme.group)) return {};
  return kind;
}

PackedView packed_view(const PackedMatrix& packed) {
  const Scheme& scheme = packed.format.scheme;
  const std::optional<WeightKind> kind = weight_kind(packed.format);
  TWOFOLD_ASSERT(kind);
  const R16Layout layout = r16_layout(scheme, packed.rows, packed.cols, packed.format.name);
  const std::byte* blob = packed.bytes.view.bytes.data();
  const R16Tail tail = load_tail(layout, blob);
  const bool affine = scheme.kind == ValueKind::kAffine;
  PackedView view;
  view.kind = *kind;
  view.blob = reinterpret_cast<const uint8_t*>(blob);
  view.rows = layout.rows;
  view.cols = layout.cols;
  view.blocks = layout.blocks;
  view.block_bytes = layout.block_bytes;
  view.group = layout.group;
  view.groups = layout.groups;
  view.group_bytes = layout.group_bytes;
  view.scales_at = layout.scales_at;
  view.zeros_at = layout.zeros_at;
  view.offsets_at = layout.offsets_at;
  view.tables_at = layout.tables_at;
  view.table_bytes = layout.table_bytes;
  view.scale_sets = layout.scale_sets;
  view.table_sets = layout.table_sets;
  view.zero_bytes = layout.scale_sets != 0 ? static_cast<int>(layout.zero_bytes) : 0;
  view.has_offset = !affine && scheme.has_offset;
  view.matrix_scale = tail.scale;
  view.power = affine ? 1.0f : std::ldexp(1.0f, tail.level_exponent);
  view.fixed_zero = layout.zero_bytes != 0 ? tail.zero
                    : affine               ? fixed_zero(scheme.zero, scheme.bits)
                                           : 0;
  view.bias = bias_of(*kind);
  view.streams = memory_streams();
  if (!affine && layout.table_sets == 0) {
    view.shared_table = view.blob + layout.tail_at + kTailHeaderBytes;
  }
  if (scheme.kind == ValueKind::kTrellis) {
    view.mixing = view.blob + layout.tail_at + kTrellisMixingAt;
  }
  return view;
}

}  // namespace twofold

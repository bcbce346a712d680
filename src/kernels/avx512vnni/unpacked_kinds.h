// Internal to kernels/avx512vnni and kernels/amx: the kinds of weights that are unpacked to a slab
// of bytes for many rows of activations, each with the type that unpacks it.
#pragma once

#include "kernels/avx512vnni/planes.h"
#include "kernels/avx512vnni/trellis.h"
#include "kernels/avx512vnni/weights.h"

/// ROW(accepts, type, bits of a code, name) for each kind.
#define TWOFOLD_UNPACKED_KINDS(ROW)                      \
  ROW(accepts_affine, AffineValues, 2, "affine2")        \
  ROW(accepts_affine, AffineValues, 3, "affine3")        \
  ROW(accepts_affine, AffineValues, 4, "affine4")        \
  ROW(accepts_affine, AffineValues, 5, "affine5")        \
  ROW(accepts_affine, AffineValues, 6, "affine6")        \
  ROW(accepts_affine, AffineValues, 7, "affine7")        \
  ROW(accepts_affine, AffineValues, 8, "affine8")        \
  ROW(accepts_table, TableValues, 2, "table2")           \
  ROW(accepts_table, TableValues, 3, "table3")           \
  ROW(accepts_table, TableValues, 4, "table4")           \
  ROW(accepts_table, TableValues, 5, "table5")           \
  ROW(accepts_table, TableValues, 6, "table6")           \
  ROW(accepts_table, TableValues, 7, "table7")           \
  ROW(accepts_table, TableValues, 8, "table8")           \
  ROW(accepts_row_table, RowTableValues, 2, "rowtable2") \
  ROW(accepts_row_table, RowTableValues, 3, "rowtable3") \
  ROW(accepts_row_table, RowTableValues, 4, "rowtable4") \
  ROW(accepts_row_table, RowTableValues, 5, "rowtable5") \
  ROW(accepts_row_table, RowTableValues, 6, "rowtable6") \
  ROW(accepts_planes, PlaneValues, 1, "planes1")         \
  ROW(accepts_planes, PlaneValues, 2, "planes2")         \
  ROW(accepts_planes, PlaneValues, 3, "planes3")         \
  ROW(accepts_planes, PlaneValues, 4, "planes4")         \
  ROW(accepts_trellis, LongTrellisValues, 1, "trellis1") \
  ROW(accepts_trellis, LongTrellisValues, 2, "trellis2") \
  ROW(accepts_trellis, LongTrellisValues, 3, "trellis3") \
  ROW(accepts_trellis, LongTrellisValues, 4, "trellis4") \
  ROW(accepts_light, LightTrellisValues, 1, "trellis1s") \
  ROW(accepts_light, LightTrellisValues, 2, "trellis2s") \
  ROW(accepts_light, LightTrellisValues, 3, "trellis3s")

/// The same for wide tables, whose values are two bytes.
#define TWOFOLD_WIDE_KINDS(ROW)                  \
  ROW(accepts_wide, WideTableValues, 2, "wide2") \
  ROW(accepts_wide, WideTableValues, 3, "wide3") \
  ROW(accepts_wide, WideTableValues, 4, "wide4") \
  ROW(accepts_wide, WideTableValues, 5, "wide5") \
  ROW(accepts_wide, WideTableValues, 6, "wide6") \
  ROW(accepts_wide, WideTableValues, 7, "wide7") \
  ROW(accepts_wide, WideTableValues, 8, "wide8")

namespace {

template <twofold::WeightValues kValues, int kBits>
bool accepts_values(const twofold::WeightKind& kind) {
  return kind.values == kValues && kind.bits == kBits && !kind.planes;
}
template <int kBits>
constexpr auto accepts_affine = accepts_values<twofold::WeightValues::kAffine, kBits>;
template <int kBits>
constexpr auto accepts_table = accepts_values<twofold::WeightValues::kTable, kBits>;
template <int kBits>
constexpr auto accepts_row_table = accepts_values<twofold::WeightValues::kRowTable, kBits>;
template <int kBits>
constexpr auto accepts_wide = accepts_values<twofold::WeightValues::kWideTable, kBits>;
template <int kBits>
constexpr auto accepts_trellis = accepts_windows<kBits, 12>;
template <int kBits>
constexpr auto accepts_light = accepts_windows<kBits, 6>;
template <int kBits>
bool accepts_planes(const twofold::WeightKind& kind) {
  return kind.planes && kind.bits == kBits;
}

}  // namespace

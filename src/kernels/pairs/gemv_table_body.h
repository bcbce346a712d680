// The kernels of kernels/<isa>/gemv_table.cpp: codes into tables, one table of int8 levels for the
// matrix (2 to 8 bits) or one for each row or group (2 to 6 bits), a few rows.
#pragma once

#include "kernels/pairs/gemv.h"
#include "kernels/tables.h"

namespace {

using twofold::Kernel;
using twofold::WeightKind;
using twofold::WeightValues;

template <WeightValues kValues, int kBits>
bool accepts(const WeightKind& kind) {
  return kind.values == kValues && kind.bits == kBits && !kind.planes;
}

template <WeightValues kValues, int kBits, template <int> class Values>
constexpr Kernel kernel(const char* name) {
  return {.name = name,
          .isa = TWOFOLD_KERNEL_ISA,
          .min_m = 1,
          .max_m = kMostGemvRows,
          .accepts = accepts<kValues, kBits>,
          .scratch_bytes = gemv_scratch_bytes,
          .run = gemv_rows<Values<kBits>>,
          .contiguous = true};
}
template <int kBits>
constexpr Kernel shared(const char* name) {
  return kernel<WeightValues::kTable, kBits, TableValues>(name);
}
template <int kBits>
constexpr Kernel by_row(const char* name) {
  return kernel<WeightValues::kRowTable, kBits, RowTableValues>(name);
}

constexpr Kernel kKernels[] = {
    shared<2>("gemv-table2" TWOFOLD_KERNEL_SUFFIX),
    shared<3>("gemv-table3" TWOFOLD_KERNEL_SUFFIX),
    shared<4>("gemv-table4" TWOFOLD_KERNEL_SUFFIX),
    shared<5>("gemv-table5" TWOFOLD_KERNEL_SUFFIX),
    shared<6>("gemv-table6" TWOFOLD_KERNEL_SUFFIX),
    shared<7>("gemv-table7" TWOFOLD_KERNEL_SUFFIX),
    shared<8>("gemv-table8" TWOFOLD_KERNEL_SUFFIX),
    by_row<2>("gemv-rowtable2" TWOFOLD_KERNEL_SUFFIX),
    by_row<3>("gemv-rowtable3" TWOFOLD_KERNEL_SUFFIX),
    by_row<4>("gemv-rowtable4" TWOFOLD_KERNEL_SUFFIX),
    by_row<5>("gemv-rowtable5" TWOFOLD_KERNEL_SUFFIX),
    by_row<6>("gemv-rowtable6" TWOFOLD_KERNEL_SUFFIX),
};

}  // namespace

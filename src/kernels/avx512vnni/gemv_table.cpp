// Products of codes into tables with a few rows of activations: one table of int8 or int16 levels
// for the matrix (2 to 8 bits), or one of int8 levels for each row or group (2 to 6 bits).
#include "kernels/avx512vnni/gemv.h"
#include "kernels/tables.h"

namespace {

using twofold::Kernel;
using twofold::WeightKind;
using twofold::WeightValues;

template <WeightValues kValues, int kBits>
bool accepts(const WeightKind& kind) {
  return kind.values == kValues && kind.bits == kBits && !kind.planes;
}

template <int kBits>
constexpr Kernel shared(const char* name) {
  return {name,    twofold::Isa::kAvx512Vnni,    1, 4, accepts<WeightValues::kTable, kBits>,
          nullptr, gemv_rows<TableValues<kBits>>};
}

template <int kBits>
constexpr Kernel by_row(const char* name) {
  return {name,    twofold::Isa::kAvx512Vnni,       1, 4, accepts<WeightValues::kRowTable, kBits>,
          nullptr, gemv_rows<RowTableValues<kBits>>};
}

template <int kBits>
constexpr Kernel wide(const char* name) {
  return {name,    twofold::Isa::kAvx512Vnni,        1, 4, accepts<WeightValues::kWideTable, kBits>,
          nullptr, gemv_rows<WideTableValues<kBits>>};
}

constexpr Kernel kKernels[] = {
    shared<2>("gemv-table2-avx512vnni"),    shared<3>("gemv-table3-avx512vnni"),
    shared<4>("gemv-table4-avx512vnni"),    shared<5>("gemv-table5-avx512vnni"),
    shared<6>("gemv-table6-avx512vnni"),    shared<7>("gemv-table7-avx512vnni"),
    shared<8>("gemv-table8-avx512vnni"),    by_row<2>("gemv-rowtable2-avx512vnni"),
    by_row<3>("gemv-rowtable3-avx512vnni"), by_row<4>("gemv-rowtable4-avx512vnni"),
    by_row<5>("gemv-rowtable5-avx512vnni"), by_row<6>("gemv-rowtable6-avx512vnni"),
    wide<2>("gemv-wide2-avx512vnni"),       wide<3>("gemv-wide3-avx512vnni"),
    wide<4>("gemv-wide4-avx512vnni"),       wide<5>("gemv-wide5-avx512vnni"),
    wide<6>("gemv-wide6-avx512vnni"),       wide<7>("gemv-wide7-avx512vnni"),
    wide<8>("gemv-wide8-avx512vnni"),
};

}  // namespace

namespace twofold {
constinit const KernelList kGemvTableAvx512Vnni = {kKernels, sizeof(kKernels) / sizeof(Kernel)};
}  // namespace twofold

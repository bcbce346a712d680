// Internal to kernels/avx512vnni and kernels/amx: weights of 32 rows unpacked to a slab of unsigned
// bytes, which the integer product then reads for many rows of activations.
//
// Slab: [2 blocks][columns / 4][16 rows][4 columns]; a vector of 64 bytes is what one product of
// four columns reads, and 16 of them are a tile of the AMX unit. Columns are padded to
// kInt8Padding.
#pragma once

#include "kernels/avx512vnni/planes.h"
#include "kernels/avx512vnni/weights.h"

namespace {

/// Unpacks block `block` to `slab`, [padded columns / 4][64].
/// @param matrix what all blocks share: load_matrix has been called.
/// @param high where the high bytes of wide values go; `slab` gets the low ones.
template <class Values>
void unpack_block(const PackedView& w, const Values& matrix, int64_t block, uint8_t* slab,
                  uint8_t* high = nullptr) {
  Values values = matrix;
  const uint8_t* bytes = w.blob + block * w.block_bytes;
  for (int64_t g = 0; g < w.groups; ++g) {
    values.load_group(w, bytes, g);
    const int64_t begin = g * w.group;
    const int64_t cols = begin + w.group < w.cols ? w.group : w.cols - begin;
    const uint8_t* step = bytes + g * w.group_bytes;
    int64_t to = begin * 16;
    for (int64_t c = 0; c < cols; c += Values::kColumns) {
      __m512i values_of_step[Values::kColumns / 4];
      if constexpr (!Values::kWide) unpack_step(values, step, values_of_step);
#pragma GCC unroll 8
      for (int j = 0; j < Values::kColumns / 4; ++j) {
        if constexpr (Values::kWide) {
          __m512i low_bytes, high_bytes;
          values.value(step, j, low_bytes, high_bytes);
          _mm512_store_si512(slab + to + 64 * j, low_bytes);
          _mm512_store_si512(high + to + 64 * j, high_bytes);
        } else {
          _mm512_store_si512(slab + to + 64 * j, values_of_step[j]);
        }
      }
      step += Values::kLines * 64;
      to += Values::kColumns * 16;
    }
  }
}

}  // namespace

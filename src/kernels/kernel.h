// Kernel: products of packed weights with float activations. Plain data only, because the files of
// single instruction sets include this header.
#pragma once

#include <cstdint>

namespace twofold {

/// y[:, row_begin..row_end) = x [m, cols] W[row_begin..row_end)^T.
struct MatmulArgs {
  const void* packed;  // const PackedMatrix*
  const float* x;      // [m, cols], stride x_stride elements
  int64_t x_stride;
  float* y;  // [m, rows], stride y_stride elements; column r is weight row r
  int64_t y_stride;
  int64_t m;
  int64_t row_begin, row_end;
};

}  // namespace twofold

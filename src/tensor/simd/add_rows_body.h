// GemmTiles64::add_rows, written once over the vocabulary of gemm_body.h. Internal linkage: every
// instruction set has its own copy.
#pragma once

#include <cstdint>

namespace twofold {
namespace {

/// V vectors of y, which stay in registers, from column `col` on.
template <int V>
void add_rows_at(const double* b, int64_t b_stride, const int32_t* rows, const double* factors,
                 int64_t count, int64_t col, double* y) {
  Vec sums[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) sums[v] = load(y + col + v * kLanes);
  for (int64_t k = 0; k < count; ++k) {
    const double* row = b + rows[k] * b_stride + col;
    const Vec factor = set1(factors[k]);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums[v] = fma(factor, load(row + v * kLanes), sums[v]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) store(y + col + v * kLanes, sums[v]);
}

void add_rows(const double* b, int64_t b_stride, const int32_t* rows, const double* factors,
              int64_t count, double* y, int64_t n) {
  int64_t col = 0;
  for (; col + 8 * kLanes <= n; col += 8 * kLanes) {
    add_rows_at<8>(b, b_stride, rows, factors, count, col, y);
  }
  for (; col + kLanes <= n; col += kLanes) {
    add_rows_at<1>(b, b_stride, rows, factors, count, col, y);
  }
  for (; col < n; ++col) {
    double sum = y[col];
    for (int64_t k = 0; k < count; ++k) sum += factors[k] * b[rows[k] * b_stride + col];
    y[col] = sum;
  }
}

}  // namespace
}  // namespace twofold

// Part of `dequantize`: some rows at a time, for those who share the work among threads.
#pragma once

#include "quant/quantized_matrix.h"

namespace twofold {

/// Rows [row_begin, row_begin + n) of what `dequantize` gives.  @param out [n, cols].
void dequantize_rows(const QuantizedMatrix& q, int64_t row_begin, Matrix<float> out);

}  // namespace twofold

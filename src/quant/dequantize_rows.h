// Part of `dequantize`: some rows at a time, for those who share the work among threads.
#pragma once

#include "quant/quantized_matrix.h"

namespace twofold {

/// Rows [row_begin, row_end) of what `dequantize` gives; the others are not touched.
/// @param out [rows, cols], the whole matrix.
void dequantize_rows(const QuantizedMatrix& q, int64_t row_begin, int64_t row_end,
                     Matrix<float> out);

}  // namespace twofold

// Float matrix products with weights that are decoded a panel at a time. Results are equal for any
// number of threads: work is cut by shape only, and every output is summed in the same order.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tensor/row_source.h"
#include "tensor/tensor.h"

namespace twofold {

/// y = x W^T (+ y if `accumulate`): x [m, W.cols()], y [m, W.rows()], float32.
/// For a few rows of x (fewer than kGemmMinRows) one dot product per output; otherwise panels of W
/// are decoded once each, packed, and multiplied by a register-blocked kernel of `isa`, or by tiles
/// of numbers split into three bfloat16, about as exactly: simd/amx/split.cpp has the bound. There
/// a number that is not finite makes the outputs that it belongs to NaN.
void matmul(Matrix<const float> x, const RowSource& weight, Matrix<float> y, ThreadPool& pool,
            Isa isa, bool accumulate = false);

inline constexpr int64_t kGemmMinRows = 8;

/// What `matmul` of kGemmMinRows rows or more multiplies with on `isa`, for people.
std::string_view matmul_arithmetic(Isa isa);

/// y = x v for plain float matrices on the calling thread: x [m, k], v [k, n], y [m, n].
void matmul_nn_serial(Matrix<const float> x, Matrix<const float> v, Matrix<float> y, Isa isa);

/// Columns of a packed panel: a multiple of the width of every instruction set's register block.
inline constexpr int64_t kPanelCols = 32;

/// panel = w^T: w [n, k] -> panel [k, kPanelCols], n <= kPanelCols; further columns are 0.
void pack_panel(Matrix<const float> w, float* panel, Isa isa);

/// y = x panel on the calling thread: x [m, k], panel [k, kPanelCols], y [m, kPanelCols]. Each
/// output is one chain over k: it does not depend on the other rows.
void multiply_panel(Matrix<const float> x, const float* panel, Matrix<float> y, Isa isa);

}  // namespace twofold

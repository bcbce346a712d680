// Float matrix products with weights that are decoded a panel at a time. Results are equal for any
// number of threads: work is cut by shape only, and every output is summed in the same order.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tensor/row_source.h"
#include "tensor/tensor.h"

namespace twofold {

/// y = x W^T (+ y if `accumulate`): x [m, W.cols()], y [m, W.rows()], float32.
/// For a few rows of x (fewer than kGemmMinRows) one dot product per output; otherwise panels of W
/// are decoded once each, packed, and multiplied by a register-blocked kernel of `isa`.
void matmul(Matrix<const float> x, const RowSource& weight, Matrix<float> y, ThreadPool& pool,
            Isa isa, bool accumulate = false);

inline constexpr int64_t kGemmMinRows = 8;

/// y = x w^T for plain float matrices on the calling thread: x [m, k], w [n, k], y [m, n].
/// For attention scores and other small products inside a parallel loop.
void matmul_serial(Matrix<const float> x, Matrix<const float> w, Matrix<float> y, Isa isa);

/// y = x v for plain float matrices on the calling thread: x [m, k], v [k, n], y [m, n].
void matmul_nn_serial(Matrix<const float> x, Matrix<const float> v, Matrix<float> y, Isa isa);

}  // namespace twofold

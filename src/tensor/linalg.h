// Linear algebra in float64 for second moments: triangular factors, triangular solves and products.
// Products run on OpenBLAS built without threads, on pieces whose sizes depend on shapes only, so
// results do not depend on the number of threads. Row-major; functions without a pool work on the
// calling thread and may be called from several at once, but their products take turns.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace twofold {

/// C += factor A B.  @param a [m, k].  @param b [k, n].  @param c [m, n].
void add_product(double factor, Matrix<const double> a, Matrix<const double> b, Matrix<double> c);

/// C += factor A^T B.  @param a [k, m].  @param b [k, n].  @param c [m, n].
void add_product_tn(double factor, Matrix<const double> a, Matrix<const double> b,
                    Matrix<double> c);

/// X := R^-T X, R upper triangular. What is below its diagonal is not read.
/// @param r [n, n], diagonal not 0.  @param x [n, m].
void solve_upper_transposed(Matrix<const double> r, Matrix<double> x);

/// Reversed Cholesky factor in place: upper triangular R with H = R R^T and a positive diagonal,
/// zeros below it. (Flip both axes of H, factor H = L L^T, flip back.)
/// @param h [n, n] symmetric; the part below the diagonal is not read.
/// @return false if H is not positive definite in float64; then h is destroyed.
bool reversed_cholesky(Matrix<double> h, ThreadPool& pool);

/// The diagonal of (R R^T)^-1, [n].  @param r [n, n] upper triangular, diagonal not 0.
std::vector<double> inverse_diagonal(Matrix<const double> r, ThreadPool& pool);

/// x_r H x_r^T for each row r of X, [m], on the calling thread.
/// @param x [m, n].  @param h [n, n] symmetric; the part below the diagonal blocks is not read.
std::vector<double> quadratic_forms(Matrix<const double> x, Matrix<const double> h);

}  // namespace twofold

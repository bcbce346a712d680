// Linear algebra in float64 for second moments: products, triangular factors and triangular solves.
// Row-major. Work is cut by shape only and every sum is added in one order, so no result depends on
// threads, nor a row or column of a result on the others. Functions without a pool work on the
// calling thread and may be called from several at once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace twofold {

/// Numbers of columns that are multiples of this are multiplied without an edge.
inline constexpr int64_t kProductCols = 16;

/// Elements between the rows of a matrix with `cols` columns such that many rows can be read in
/// step: an odd number of cache lines, as rows a multiple of 1 KB apart compete for a few sets.
int64_t product_stride(int64_t cols);

/// C += A B. Meant for a few hundred rows: A is read in place, once for every kProductCols columns.
/// @param a [m, k].  @param b [k, n].  @param c [m, n].
void add_product(Matrix<const double> a, Matrix<const double> b, Matrix<double> c, Isa isa);

/// y += the sum of factors[k] times row rows[k] of B. Every number is one chain in the order of k.
/// @param rows, factors [count].  @param y [b.cols].
void add_rows(Matrix<const double> b, std::span<const int32_t> rows,
              std::span<const double> factors, double* y, Isa isa);

/// X := L^-1 X, L lower triangular. What is above its diagonal is not read.
/// @param l [n, n], diagonal not 0.  @param x [n, m].
void solve_lower(Matrix<const double> l, Matrix<double> x, Isa isa);

/// Reversed Cholesky factor in place: lower triangular L with H = L^T L and a positive diagonal,
/// zeros above it. (Flip both axes of H, factor H = M M^T, flip back: L = M^T.)
/// @param h [n, n] symmetric; the part above the diagonal is not read.
/// @return false if H is not positive definite in float64; then h is destroyed.
bool reversed_cholesky(Matrix<double> h, ThreadPool& pool, Isa isa);

/// The diagonal of (L^T L)^-1, [n].  @param l [n, n] lower triangular, diagonal not 0.
std::vector<double> inverse_diagonal(Matrix<const double> l, ThreadPool& pool, Isa isa);

/// x_r H x_r^T for each row r of X, [m], on the calling thread.
/// @param x [m, n].  @param h [n, n] symmetric; what is right of its diagonal blocks is not read.
std::vector<double> quadratic_forms(Matrix<const double> x, Matrix<const double> h, Isa isa);

}  // namespace twofold

#include "tensor/linalg.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/checked_math.h"

namespace twofold {
namespace {

/// Side of the blocks of a factor: the inner dimension at which products are near full speed.
constexpr int64_t kBlock = 128;

// Debian's OpenBLAS without threads hands out its work buffers without a lock (blas_memory_alloc):
// two calls at once may get the same one. So they take turns.
class BlasTurn {
 public:
  BlasTurn() : lock_(mutex()) {}

 private:
  static std::mutex& mutex() {
    static std::mutex instance;
    return instance;
  }
  std::lock_guard<std::mutex> lock_;
};

blasint blas_int(int64_t n) { return checked_cast<blasint>(n, "side of a matrix"); }

/// `rows` x `cols` of m from (row, col) on.
template <class T>
Matrix<T> part(Matrix<T> m, int64_t row, int64_t col, int64_t rows, int64_t cols) {
  return {m.data + row * m.stride + col, rows, cols, m.stride};
}

/// C -= A A^T on and above the diagonal.  @param a [n, k].  @param c [n, n].
void subtract_square(Matrix<const double> a, Matrix<double> c) {
  if (a.cols == 0) return;
  const BlasTurn turn;
  cblas_dsyrk(CblasRowMajor, CblasUpper, CblasNoTrans, blas_int(c.rows), blas_int(a.cols), -1.0,
              a.data, blas_int(a.stride), 1.0, c.data, blas_int(c.stride));
}

/// C -= A B^T.  @param a [m, k].  @param b [n, k].  @param c [m, n].
void subtract_product_nt(Matrix<const double> a, Matrix<const double> b, Matrix<double> c) {
  if (a.cols == 0) return;
  const BlasTurn turn;
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, blas_int(c.rows), blas_int(c.cols),
              blas_int(a.cols), -1.0, a.data, blas_int(a.stride), b.data, blas_int(b.stride), 1.0,
              c.data, blas_int(c.stride));
}

/// The factor of one block, column by column from the last.
bool factor_block(Matrix<double> h) {
  std::vector<double> column(static_cast<size_t>(h.rows));
  for (int64_t j = h.rows - 1; j >= 0; --j) {
    const double pivot = h.at(j, j);
    if (!(pivot > 0) || !std::isfinite(pivot)) return false;
    const double root = std::sqrt(pivot);
    for (int64_t i = 0; i < j; ++i) {
      h.at(i, j) /= root;
      column[static_cast<size_t>(i)] = h.at(i, j);
    }
    h.at(j, j) = root;
    for (int64_t i = 0; i < j; ++i) {
      const double left = column[static_cast<size_t>(i)];
      double* row = h.data + i * h.stride;
      for (int64_t k = i; k < j; ++k) row[k] -= left * column[static_cast<size_t>(k)];
    }
  }
  return true;
}

}  // namespace

void add_product(double factor, Matrix<const double> a, Matrix<const double> b, Matrix<double> c) {
  if (c.rows == 0 || c.cols == 0 || a.cols == 0) return;
  const BlasTurn turn;
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, blas_int(c.rows), blas_int(c.cols),
              blas_int(a.cols), factor, a.data, blas_int(a.stride), b.data, blas_int(b.stride), 1.0,
              c.data, blas_int(c.stride));
}

void add_product_tn(double factor, Matrix<const double> a, Matrix<const double> b,
                    Matrix<double> c) {
  if (c.rows == 0 || c.cols == 0 || a.rows == 0) return;
  const BlasTurn turn;
  cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, blas_int(c.rows), blas_int(c.cols),
              blas_int(a.rows), factor, a.data, blas_int(a.stride), b.data, blas_int(b.stride), 1.0,
              c.data, blas_int(c.stride));
}

void solve_upper_transposed(Matrix<const double> r, Matrix<double> x) {
  if (x.rows == 0 || x.cols == 0) return;
  const BlasTurn turn;
  cblas_dtrsm(CblasRowMajor, CblasLeft, CblasUpper, CblasTrans, CblasNonUnit, blas_int(x.rows),
              blas_int(x.cols), 1.0, r.data, blas_int(r.stride), x.data, blas_int(x.stride));
}

// Columns of blocks from the last to the first: each block subtracts the product of what is right
// of it in its own row and in the row of the diagonal block, then is divided by the diagonal block.
bool reversed_cholesky(Matrix<double> h, ThreadPool& pool) {
  const int64_t n = h.rows;
  for (int64_t block = ceil_div(n, kBlock) - 1; block >= 0; --block) {
    const int64_t begin = block * kBlock;
    const int64_t side = std::min(kBlock, n - begin);
    const int64_t right = n - begin - side;
    const Matrix<double> corner = part(h, begin, begin, side, side);
    const Matrix<double> beside = part(h, begin, begin + side, side, right);
    subtract_square(beside, corner);
    if (!factor_block(corner)) return false;
    pool.run(block, [&](int64_t above, int /*worker*/) {
      const Matrix<double> target = part(h, above * kBlock, begin, kBlock, side);
      subtract_product_nt(part(h, above * kBlock, begin + side, kBlock, right), beside, target);
      const BlasTurn turn;
      cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasTrans, CblasNonUnit,
                  blas_int(target.rows), blas_int(side), 1.0, corner.data, blas_int(corner.stride),
                  target.data, blas_int(target.stride));
    });
  }
  for (int64_t r = 1; r < n; ++r) std::fill_n(h.data + r * h.stride, r, 0.0);
  return true;
}

// H^-1 = R^-T R^-1, so its diagonal holds the squared lengths of the columns of R^-1, whose rows
// are solved for in chunks.
std::vector<double> inverse_diagonal(Matrix<const double> r, ThreadPool& pool) {
  const int64_t n = r.rows;
  const int64_t chunks = ceil_div(n, kBlock);
  std::vector<std::vector<double>> sums(static_cast<size_t>(chunks));
  pool.run(chunks, [&](int64_t chunk, int /*worker*/) {
    const int64_t begin = chunk * kBlock;
    const int64_t rows = std::min(kBlock, n - begin), cols = n - begin;
    std::vector<double> x(static_cast<size_t>(rows * cols));  // rows of R^-1; 0 left of `begin`
    for (int64_t i = 0; i < rows; ++i) x[static_cast<size_t>(i * cols + i)] = 1;
    const Matrix<const double> corner = part(r, begin, begin, cols, cols);
    const BlasTurn turn;
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, blas_int(rows),
                blas_int(cols), 1.0, corner.data, blas_int(corner.stride), x.data(),
                blas_int(cols));
    std::vector<double>& sum = sums[static_cast<size_t>(chunk)];
    sum.assign(static_cast<size_t>(cols), 0.0);
    for (int64_t i = 0; i < rows; ++i) {
      const double* row = x.data() + i * cols;
      for (int64_t j = 0; j < cols; ++j) sum[static_cast<size_t>(j)] += row[j] * row[j];
    }
  });
  std::vector<double> diagonal(static_cast<size_t>(n));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const std::vector<double>& sum = sums[static_cast<size_t>(chunk)];
    for (size_t j = 0; j < sum.size(); ++j) {
      diagonal[static_cast<size_t>(chunk * kBlock) + j] += sum[j];
    }
  }
  return diagonal;
}

// By columns of blocks: what is above the diagonal block counts twice, as H is symmetric.
std::vector<double> quadratic_forms(Matrix<const double> x, Matrix<const double> h) {
  std::vector<double> forms(static_cast<size_t>(x.rows));
  std::vector<double> product(static_cast<size_t>(x.rows * std::min(2 * kBlock, x.cols)));
  for (int64_t col = 0; col < x.cols; col += 2 * kBlock) {
    const int64_t side = std::min(2 * kBlock, x.cols - col);
    const Matrix<double> y(product.data(), x.rows, side);
    std::fill_n(product.begin(), x.rows * side, 0.0);
    add_product(2.0, part(x, 0, 0, x.rows, col), part(h, 0, col, col, side), y);
    add_product(1.0, part(x, 0, col, x.rows, side), part(h, col, col, side, side), y);
    for (int64_t r = 0; r < x.rows; ++r) {
      const double* row = x.data + r * x.stride + col;
      double sum = 0;
      for (int64_t j = 0; j < side; ++j) sum += y.at(r, j) * row[j];
      forms[static_cast<size_t>(r)] += sum;
    }
  }
  return forms;
}

}  // namespace twofold

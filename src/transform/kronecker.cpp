#include "transform/kronecker.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/error.h"
#include "base/rng.h"
#include "tensor/gemm.h"
#include "transform/two_sided.h"

namespace twofold {
namespace {

constexpr int64_t kLargestPrime = 512;
constexpr int64_t kLargestFactor = 1024;
/// Vectors that are transformed together: their numbers stay in the second cache.
constexpr int64_t kVectors = 32;

size_t index(int64_t i) { return static_cast<size_t>(i); }

std::vector<int64_t> prime_factors(int64_t n) {
  std::vector<int64_t> primes;
  for (int64_t d = 2; d * d <= n; ++d) {
    for (; n % d == 0; n /= d) primes.push_back(d);
  }
  if (n > 1) primes.push_back(n);
  return primes;
}

/// Uniform among all orders (Fisher-Yates).
std::vector<int32_t> random_permutation(uint64_t seed, std::string_view key, int64_t n) {
  std::vector<int32_t> order(index(n));
  std::iota(order.begin(), order.end(), 0);
  Rng rng(seed, key);
  for (int64_t i = n - 1; i > 0; --i) {
    std::swap(order[index(i)], order[rng.below(static_cast<uint64_t>(i) + 1)]);
  }
  return order;
}

std::vector<int32_t> inverse(const std::vector<int32_t>& order) {
  std::vector<int32_t> result(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    result[static_cast<size_t>(order[i])] = static_cast<int32_t>(i);
  }
  return result;
}

std::vector<float> to_floats(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

std::vector<float> transposed(const std::vector<float>& m, int64_t n) {
  std::vector<float> result(m.size());
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = 0; c < n; ++c) result[index(c * n + r)] = m[index(r * n + c)];
  }
  return result;
}

/// Of 4-byte numbers.
template <class T>
uint64_t add_all(uint64_t hash, const std::vector<T>& values) {
  for (const T value : values) hash = add_to_checksum(hash, std::bit_cast<uint32_t>(value));
  return hash;
}

/// The factors as the numbers that they multiply; floats are read where they are.
template <class T>
class Typed {
 public:
  explicit Typed(const std::vector<float>& values) : values_(values.begin(), values.end()) {}
  const T* data() const { return values_.data(); }

 private:
  std::vector<T> values_;
};
template <>
class Typed<float> {
 public:
  explicit Typed(const std::vector<float>& values) : values_(values) {}
  const float* data() const { return values_.data(); }

 private:
  const std::vector<float>& values_;
};

double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// y = x v: x [m, k], v [k, n], y [m, n].
void multiply(Matrix<const float> x, Matrix<const float> v, Matrix<float> y, Isa isa) {
  matmul_nn_serial(x, v, y, isa);
}
void multiply(Matrix<const double> x, Matrix<const double> v, Matrix<double> y, Isa /*isa*/) {
  for (int64_t r = 0; r < x.rows; ++r) {
    double* out = y.row(r).data();
    std::fill(out, out + y.cols, 0.0);
    int64_t k = 0;
    for (; k + 4 <= x.cols; k += 4) {
      const double x0 = x.at(r, k), x1 = x.at(r, k + 1), x2 = x.at(r, k + 2), x3 = x.at(r, k + 3);
      const double *v0 = &v.at(k, 0), *v1 = &v.at(k + 1, 0);
      const double *v2 = &v.at(k + 2, 0), *v3 = &v.at(k + 3, 0);
      for (int64_t c = 0; c < y.cols; ++c) {
        out[c] += (x0 * v0[c] + x1 * v1[c]) + (x2 * v2[c] + x3 * v3[c]);
      }
    }
    for (; k < x.cols; ++k) {
      for (int64_t c = 0; c < y.cols; ++c) out[c] += x.at(r, k) * v.at(k, c);
    }
  }
}

}  // namespace

KroneckerFactors kronecker_factors(FactorRule rule, int64_t n) {
  const std::vector<int64_t> primes = prime_factors(n);
  switch (rule) {
    case FactorRule::kBalanced: {
      int64_t p = static_cast<int64_t>(std::sqrt(static_cast<double>(n)));
      while (p > 1 && (p * p > n || n % p != 0)) --p;
      return {p, n / p};
    }
    case FactorRule::kPublished: {
      int64_t p = 1;
      for (size_t i = 0; i < primes.size(); i += 2) p *= primes[i];
      return {p, n / p};
    }
  }
  fail(ErrorCode::kInternal, "factor rule", "not listed");
}

std::string kronecker_refusal(FactorRule rule, int64_t n) {
  const KroneckerFactors f = kronecker_factors(rule, n);
  const int64_t largest = std::max(f.p, f.q);
  if (std::min(f.p, f.q) == 1 && largest > kLargestPrime) {
    return fmt::format("a side of {} is prime: only those up to {} have a random orthogonal matrix",
                       n, kLargestPrime);
  }
  if (largest > kLargestFactor) {
    return fmt::format("a side of {} has the factors {} x {}: at most {} is drawn", n, f.p, f.q,
                       kLargestFactor);
  }
  return {};
}

std::vector<double> haar_matrix(uint64_t seed, std::string_view key, int64_t n) {
  Rng rng(seed, key);
  std::vector<double> rows(index(n * n));
  for (double& value : rows) value = rng.normal();
  for (int64_t i = 0; i < n; ++i) {
    double* row = rows.data() + i * n;
    // Twice is enough: the second pass removes what rounding left of the earlier rows.
    for (int pass = 0; pass < 2; ++pass) {
      for (int64_t k = 0; k < i; ++k) {
        const double* earlier = rows.data() + k * n;
        const double along = dot(row, earlier, n);
        for (int64_t c = 0; c < n; ++c) row[c] -= along * earlier[c];
      }
    }
    const double length = std::sqrt(dot(row, row, n));
    for (int64_t c = 0; c < n; ++c) row[c] /= length;
  }
  return rows;
}

KroneckerRotation::KroneckerRotation(uint64_t seed, FactorRule rule, int64_t n)
    : factors_(kronecker_factors(rule, n)) {
  TWOFOLD_ASSERT(kronecker_refusal(rule, n).empty());
  const std::vector<float> left = to_floats(haar_matrix(seed, "left factor", factors_.p));
  const std::vector<float> right = to_floats(haar_matrix(seed, "right factor", factors_.q));
  const std::vector<int32_t> in = random_permutation(seed, "input order", n);
  const std::vector<int32_t> out = random_permutation(seed, "output order", n);
  checksum_ = add_all(add_all(add_all(add_all(kChecksumStart, left), right), in), out);
  forward_ = make_direction(in, out, left, transposed(right, factors_.q));
  backward_ = make_direction(inverse(out), inverse(in), transposed(left, factors_.p), right);
}

KroneckerRotation::Direction KroneckerRotation::make_direction(std::vector<int32_t> in,
                                                               const std::vector<int32_t>& out,
                                                               std::vector<float> left,
                                                               std::vector<float> right) const {
  Direction direction{.in = std::move(in),
                      .out_row = {},
                      .out_col = {},
                      .left = std::move(left),
                      .right = std::move(right)};
  const int32_t q = static_cast<int32_t>(factors_.q);
  for (const int32_t at : out) {
    direction.out_row.push_back(at / q);
    direction.out_col.push_back(at % q);
  }
  return direction;
}

template <class T>
void KroneckerRotation::run(Matrix<T> x, const Direction& direction, Isa isa) const {
  TWOFOLD_ASSERT(x.cols == size());
  const int64_t n = x.cols, p = factors_.p, q = factors_.q;
  const Typed<T> left_numbers(direction.left), right_numbers(direction.right);
  const Matrix<const T> left(left_numbers.data(), p, p), right(right_numbers.data(), q, q);
  const int64_t most = std::min(kVectors, x.rows);
  AlignedBuffer<T> gathered(index(most * n)), product(index(most * n));
  for (int64_t begin = 0; begin < x.rows; begin += kVectors) {
    // Both buffers are [p, count, q]: entry (i, t, j) belongs to X[i, j] of vector t.
    const int64_t count = std::min(kVectors, x.rows - begin);
    const int64_t width = count * q;
    for (int64_t t = 0; t < count; ++t) {
      const T* from = x.row(begin + t).data();
      for (int64_t i = 0; i < p; ++i) {
        T* to = gathered.data() + i * width + t * q;
        const int32_t* at = direction.in.data() + i * q;
        for (int64_t j = 0; j < q; ++j) to[j] = from[at[j]];
      }
    }
    multiply({gathered.data(), p * count, q}, right, {product.data(), p * count, q}, isa);
    multiply(left, {product.data(), p, width}, {gathered.data(), p, width}, isa);
    for (int64_t t = 0; t < count; ++t) {
      T* to = x.row(begin + t).data();
      const T* from = gathered.data() + t * q;
      for (int64_t k = 0; k < n; ++k) {
        to[k] = from[direction.out_row[index(k)] * width + direction.out_col[index(k)]];
      }
    }
  }
}

template void KroneckerRotation::run(Matrix<float>, const Direction&, Isa) const;
template void KroneckerRotation::run(Matrix<double>, const Direction&, Isa) const;

}  // namespace twofold

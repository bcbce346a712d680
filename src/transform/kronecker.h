// KroneckerRotation: R = P_out (L x R) P_in with random orthogonal factors L [p, p], R [q, q], p q
// = n, and random permutations. QuIP, arXiv:2307.13304, Sec. 4.1. Drawn from a seed by + - * / sqrt
// in double alone, so that every machine draws the same; costs n (p + q) multiplications per
// vector.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "transform/rotation.h"

namespace twofold {

/// How n is split into p q.
enum class FactorRule {
  kBalanced,   // p = the largest divisor of n that is at most sqrt(n)
  kPublished,  // prime factors in ascending order: p = product of the 1st, 3rd, 5th, ...
};

struct KroneckerFactors {
  int64_t p = 1, q = 1;
};
KroneckerFactors kronecker_factors(FactorRule rule, int64_t n);

/// Empty if a rotation of this size can be drawn, else why not: a prime above 512 has no factors, a
/// factor above 1024 takes too long to draw.
std::string kronecker_refusal(FactorRule rule, int64_t n);

/// A uniformly distributed (Haar) random orthogonal matrix, [n, n] row-major: rows of a matrix of
/// normal numbers, orthonormalized in order, which is its QR factorization with diag(R) > 0.
std::vector<double> haar_matrix(uint64_t seed, std::string_view key, int64_t n);

class KroneckerRotation final : public Rotation {
 public:
  /// `n` must have no refusal.
  KroneckerRotation(uint64_t seed, FactorRule rule, int64_t n);

  int64_t size() const override { return static_cast<int64_t>(forward_.in.size()); }
  /// Over both factors in float32 and both orders: differs where the drawing did.
  uint64_t checksum() const override { return checksum_; }

  void apply(Matrix<float> x, Isa isa) const override { run(x, forward_, isa); }
  void undo(Matrix<float> x, Isa isa) const override { run(x, backward_, isa); }
  void apply(Matrix<double> x) const override { run(x, forward_, Isa::kScalar); }

 private:
  /// y[k] = (left X right)[out_row[k], out_col[k]] with X[i, j] = x[in[i q + j]].
  struct Direction {
    std::vector<int32_t> in, out_row, out_col;  // [n]
    std::vector<float> left, right;             // [p, p], [q, q]
  };
  Direction make_direction(std::vector<int32_t> in, const std::vector<int32_t>& out,
                           std::vector<float> left, std::vector<float> right) const;
  template <class T>
  void run(Matrix<T> x, const Direction& direction, Isa isa) const;

  KroneckerFactors factors_;
  Direction forward_, backward_;
  uint64_t checksum_ = 0;
};

}  // namespace twofold

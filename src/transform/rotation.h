// Rotation: an orthogonal matrix R [n, n] that is applied to vectors without being formed. One side
// of a transform. Immutable; all calls are thread-safe and work in place.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "tensor/tensor.h"

namespace twofold {

class Rotation {
 public:
  virtual ~Rotation() = default;
  virtual int64_t size() const = 0;  // n
  /// Each row x [n] becomes R x; the result for one row does not depend on the others.
  virtual void apply(Matrix<float> x, Isa isa) const = 0;
  /// Each row x [n] becomes R^T x.
  virtual void undo(Matrix<float> x, Isa isa) const = 0;
  /// `apply` in double precision, portable.
  virtual void apply(Matrix<double> x) const = 0;
  /// Of everything that was drawn (FNV-1a over its bits).
  virtual uint64_t checksum() const = 0;
};

}  // namespace twofold

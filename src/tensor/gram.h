// The Gram matrix of activations, x^T x: what second moments are summed from.
#pragma once

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace twofold {

/// sum += x^T x for x [tokens, n], sum [n, n]: entries on and above the diagonal only, the others
/// stay as they are. Products are summed over all tokens in float32, in an order that depends on
/// shapes only, and then added to `sum` in float64; so the sum does not depend on the number of
/// threads, and not on how often the function was called for other sequences before.
/// Takes about 1.1 MB per thread beside its arguments.
void add_gram(Matrix<const float> x, Matrix<double> sum, ThreadPool& pool, Isa isa);

}  // namespace twofold

#include "engine/mlp.h"

#include "engine/norm.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

using ActivationFn = void (*)(const float*, float*, int64_t);
ActivationFn activation_of(Activation activation, const Ops& op) {
  switch (activation) {
    case Activation::kGeluErf:
      return op.gelu_erf;
    case Activation::kGeluTanh:
      return op.gelu_tanh;
    case Activation::kSilu:
      return op.silu;
    case Activation::kRelu:
      return op.relu;
  }
  fail(ErrorCode::kInternal, "activation", "not listed");
}

}  // namespace

Matrix<float> Mlp::mid(const ModelConfig& c, Matrix<const float> x, AlignedBuffer<float>& wide,
                       const Context& ctx) const {
  const Ops& op = ops(ctx.isa);
  const int64_t width = in->width(), n = width / (c.gated_mlp ? 2 : 1);
  wide.ensure(static_cast<size_t>(x.rows * (width + n)));
  const Matrix<float> both(wide.data(), x.rows, width);
  const Matrix<float> mid(both.data + both.rows * both.cols, x.rows, n);
  in->apply(x, both, ctx);
  const ActivationFn activation = activation_of(c.activation, op);
  const bool silu = c.activation == Activation::kSilu;
  for_rows(x.rows, ctx, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* gate = both.row(r).data();
      float* y = mid.row(r).data();
      if (c.gated_mlp && silu) {
        op.silu_mul(gate, gate + n, y, n);
        continue;
      }
      activation(gate, y, n);
      if (c.gated_mlp) {
        for (int64_t i = 0; i < n; ++i) y[i] *= gate[n + i];
      }
    }
  });
  return mid;
}

}  // namespace twofold

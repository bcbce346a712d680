#include "engine/mlp.h"

#include "engine/norm.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

struct ActivationOps {
  void (*plain)(const float* x, float* y, int64_t n);
  void (*gated)(const float* gate, const float* up, float* y, int64_t n);
};
ActivationOps activation_of(Activation activation, const Ops& op) {
  switch (activation) {
    case Activation::kGeluErf:
      return {op.gelu_erf, op.gelu_erf_mul};
    case Activation::kGeluTanh:
      return {op.gelu_tanh, op.gelu_tanh_mul};
    case Activation::kSilu:
      return {op.silu, op.silu_mul};
    case Activation::kRelu:
      return {op.relu, op.relu_mul};
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
  const ActivationOps activation = activation_of(c.activation, op);
  for_rows(x.rows, ctx, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* gate = both.row(r).data();
      float* y = mid.row(r).data();
      if (c.gated_mlp) {
        activation.gated(gate, gate + n, y, n);
      } else {
        activation.plain(gate, y, n);
      }
    }
  });
  return mid;
}

}  // namespace twofold

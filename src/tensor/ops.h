// Vector operations of a transformer, one table per instruction set. All take plain pointers to
// float32 and lengths in elements; all are pure functions of their arguments; between instruction
// sets results differ by float rounding only. Polynomials for exp, tanh, erf stay within 4 ulp of
// the range used, or 1e-7 absolute, and are tested against the C library.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace twofold {

struct Ops {
  /// Sum of a[i] b[i], i < n.
  float (*dot)(const float* a, const float* b, int64_t n);
  /// Sum of a[i] b[i] with b in binary16 / bfloat16 bit patterns.
  float (*dot_f16)(const float* a, const uint16_t* b, int64_t n);
  float (*dot_bf16)(const float* a, const uint16_t* b, int64_t n);
  /// y[i] += s x[i].
  void (*axpy)(float s, const float* x, float* y, int64_t n);
  /// y[i] += x[i].
  void (*add)(const float* x, float* y, int64_t n);
  /// x[i] *= s.
  void (*scale)(float s, float* x, int64_t n);
  /// y[i] = x[i] / rms(x) * w[i], rms over n with eps inside the root.
  void (*rms_norm)(const float* x, const float* w, float eps, float* y, int64_t n);
  /// y[i] = (x[i] - mean) / sqrt(var + eps) * w[i] + b[i]; b may be null. Two passes.
  void (*layer_norm)(const float* x, const float* w, const float* b, float eps, float* y,
                     int64_t n);
  /// x = softmax(x) in place.
  void (*softmax)(float* x, int64_t n);
  /// log(sum exp x[i]).
  float (*log_sum_exp)(const float* x, int64_t n);
  float (*max)(const float* x, int64_t n);
  /// y[i] = silu(gate[i]) up[i].
  void (*silu_mul)(const float* gate, const float* up, float* y, int64_t n);
  void (*silu)(const float* x, float* y, int64_t n);
  void (*relu)(const float* x, float* y, int64_t n);
  /// GELU by the error function, and by tanh (OpenAI's approximation).
  void (*gelu_erf)(const float* x, float* y, int64_t n);
  void (*gelu_tanh)(const float* x, float* y, int64_t n);
  /// Sums of exp(p) (p - q) style terms of KL(P || Q) for log-probabilities lp, lq.
  double (*kl_divergence)(const float* lp, const float* lq, int64_t n);
  /// Widening of stored numbers.
  void (*f16_to_f32)(const uint16_t* x, float* y, int64_t n);
  void (*bf16_to_f32)(const uint16_t* x, float* y, int64_t n);
  void (*f32_to_f16)(const float* x, uint16_t* y, int64_t n);
  void (*f32_to_bf16)(const float* x, uint16_t* y, int64_t n);
};

/// The table for `isa`; the CPU must have it.
const Ops& ops(Isa isa);

}  // namespace twofold

// Ops: the table of vector operations, plain data so that the files compiled for one instruction
// set can include it. How to get a table and what all of them promise: tensor/ops.h.
#pragma once

#include <cstdint>

namespace twofold {

/// Scores this far below the largest have no weight in a softmax. e^-69 = 2^-99.5: nothing in
/// float32, while far smaller weights are subnormal numbers, with which products take a hundred
/// times longer.
inline constexpr float kNegligibleScore = -69.0f;

/// Rounding to equally spaced values: scale (code - zero), code = whole + after, with whole the
/// nearest integer to x / scale + before, ties to even, between the integers lo and hi, which are
/// at most 2^16 in magnitude. The scale is not 0.
struct AffineRounding {
  float scale, zero, before, after, lo, hi;
};

/// Sums of squares in lanes: number i of a row belongs to lane i mod kLanes, the rest of a row that
/// fills no round of lanes to lane 0.
struct SquareSums {
  static constexpr int64_t kLanes = 8;
  double x[kLanes], distance[kLanes];
};

struct Ops {
  /// Sum of a[i] b[i], i < n.
  float (*dot)(const float* a, const float* b, int64_t n);
  /// Sum of a[i] b[i] with b in binary16 / bfloat16 bit patterns.
  float (*dot_f16)(const float* a, const uint16_t* b, int64_t n);
  float (*dot_bf16)(const float* a, const uint16_t* b, int64_t n);
  /// y[i] += s x[i].
  void (*axpy)(float s, const float* x, float* y, int64_t n);
  /// y[i] = a y[i] + b x[i].
  void (*mix)(float a, float* y, float b, const float* x, int64_t n);
  /// y[i] += x[i].
  void (*add)(const float* x, float* y, int64_t n);
  /// x[i] *= s.
  void (*scale)(float s, float* x, int64_t n);
  /// y[i] = x[i] / rms(x) * w[i], rms over n with eps inside the root.
  void (*rms_norm)(const float* x, const float* w, float eps, float* y, int64_t n);
  /// y[i] = (x[i] - mean) / sqrt(var + eps) * w[i] + b[i]; b may be null. Two passes.
  void (*layer_norm)(const float* x, const float* w, const float* b, float eps, float* y,
                     int64_t n);
  /// x = softmax(factor x) in place, factor > 0, weights below e^kNegligibleScore of the largest as
  /// 0, with what joins it to the softmax of further entries: *top = the largest factor x[i],
  /// *total = sum exp(factor x[i] - *top). Entries of -inf become 0; of a row of nothing else, or
  /// of none: *top = -inf, *total = 0.
  void (*softmax)(float factor, float* x, int64_t n, float* top, float* total);
  /// log(sum exp x[i]), summed in double; -inf if every entry is -inf.
  float (*log_sum_exp)(const float* x, int64_t n);
  /// The largest entry, -inf if there is none.
  float (*max)(const float* x, int64_t n);
  /// Activations: y[i] = f(x[i]), and f_mul: y[i] = f(gate[i]) up[i], of the same bits as f, then
  /// a product.
  void (*silu)(const float* x, float* y, int64_t n);
  void (*relu)(const float* x, float* y, int64_t n);
  /// GELU by the error function, and by tanh (OpenAI's approximation).
  void (*gelu_erf)(const float* x, float* y, int64_t n);
  void (*gelu_tanh)(const float* x, float* y, int64_t n);
  void (*silu_mul)(const float* gate, const float* up, float* y, int64_t n);
  void (*relu_mul)(const float* gate, const float* up, float* y, int64_t n);
  void (*gelu_erf_mul)(const float* gate, const float* up, float* y, int64_t n);
  void (*gelu_tanh_mul)(const float* gate, const float* up, float* y, int64_t n);
  /// x[i] = cap tanh(factor x[i] / cap), to 1e-6 cap; cap > 0.
  void (*soft_cap)(float factor, float cap, float* x, int64_t n);
  /// KL(P || Q) = sum of exp(lp[i]) (lp[i] - lq[i]) for log-probabilities lp, lq, summed in double;
  /// entries with exp(lp[i]) = 0 count as 0.
  double (*kl_divergence)(const float* lp, const float* lq, int64_t n);
  /// Each block of x is multiplied by the Hadamard matrix of its side, entries 1 and -1 in
  /// Sylvester order, in place. `block` is a power of two that divides n.
  void (*hadamard)(float* x, int64_t n, int64_t block);
  /// Widening and narrowing of stored numbers, bit for bit as base/float16.h does it.
  void (*f16_to_f32)(const uint16_t* x, float* y, int64_t n);
  void (*bf16_to_f32)(const uint16_t* x, float* y, int64_t n);
  void (*f32_to_f16)(const float* x, uint16_t* y, int64_t n);
  void (*f32_to_bf16)(const float* x, uint16_t* y, int64_t n);
  /// y[i] = x[i] / scale, to nearest even, |y[i]| <= 127; all instruction sets give the same bits.
  /// @return scale = max |x[i]| / 127; 0 if that maximum is not above 1e-36; NaN if an x[i] is not
  /// finite.
  float (*f32_to_q8)(const float* x, int8_t* y, int64_t n);
  /// y[r, c] = scales[r] x[r, c] / = scales[c] x[r, c]; x and y [rows, n].
  void (*q8_rows_to_f32)(const int8_t* x, const float* scales, float* y, int64_t rows, int64_t n);
  void (*q8_cols_to_f32)(const int8_t* x, const float* scales, float* y, int64_t rows, int64_t n);
  // The following give the same bits with every instruction set.
  /// The least and the largest of n > 0 numbers; -0 is below 0, NaNs are beyond infinity.
  void (*extent)(const float* x, int64_t n, float* lo, float* hi);
  /// Codes and their values.
  void (*round_affine)(const float* x, int64_t n, const AffineRounding& by, uint16_t* codes,
                       float* values);
  /// sums->x += x[i]^2, sums->distance += (y[i] - x[i])^2.
  void (*add_squares)(const float* x, const float* y, int64_t n, SquareSums* sums);
};

}  // namespace twofold

// The reference for every vector operation: one element at a time, functions of the C library,
// sums in double. What other instruction sets compute is tested against this.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/float16.h"
#include "tensor/simd/exact_loops.h"
#include "tensor/simd/tables.h"

namespace twofold {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

template <class Widen>
float dot_with(const float* a, int64_t n, Widen b) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += static_cast<double>(a[i]) * static_cast<double>(b(i));
  return static_cast<float>(total);
}
float dot(const float* a, const float* b, int64_t n) {
  return dot_with(a, n, [b](int64_t i) { return b[i]; });
}
float dot_f16(const float* a, const uint16_t* b, int64_t n) {
  return dot_with(a, n, [b](int64_t i) { return to_float(Float16{b[i]}); });
}
float dot_bf16(const float* a, const uint16_t* b, int64_t n) {
  return dot_with(a, n, [b](int64_t i) { return to_float(BFloat16{b[i]}); });
}

void axpy(float s, const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += s * x[i];
}
void mix(float a, float* y, float b, const float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = a * y[i] + b * x[i];
}
void add(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}
void scale(float s, float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] *= s;
}

void rms_norm(const float* x, const float* w, float eps, float* y, int64_t n) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const double mean = squares / static_cast<double>(n);
  const float inverse = static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(eps)));
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * inverse * w[i];
}

void layer_norm(const float* x, const float* w, const float* b, float eps, float* y, int64_t n) {
  double total = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) total += static_cast<double>(x[i]);
  const double mean = total / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    const double distance = static_cast<double>(x[i]) - mean;
    squares += distance * distance;
  }
  const double variance = squares / static_cast<double>(n);
  const double inverse = 1.0 / std::sqrt(variance + static_cast<double>(eps));
  for (int64_t i = 0; i < n; ++i) {
    const float unit = static_cast<float>((static_cast<double>(x[i]) - mean) * inverse);
    y[i] = unit * w[i] + (b == nullptr ? 0.0f : b[i]);
  }
}

float max_of(const float* x, int64_t n) {
  float top = kNone;
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
  return top;
}

void softmax(float factor, float* x, int64_t n, float* top, float* total) {
  scale(factor, x, n);
  *top = max_of(x, n);
  *total = 0;
  if (*top == kNone) {
    for (int64_t i = 0; i < n; ++i) x[i] = std::isnan(x[i]) ? x[i] : 0.0f;
    return;
  }
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float below = x[i] - *top;
    x[i] = below < kNegligibleScore ? 0.0f : std::exp(below);
    sum += static_cast<double>(x[i]);
  }
  *total = static_cast<float>(sum);
  scale(static_cast<float>(1.0 / sum), x, n);
}

float log_sum_exp(const float* x, int64_t n) {
  const float top = max_of(x, n);
  if (top == kNone) return kNone;
  double total = 0;
  for (int64_t i = 0; i < n; ++i) {
    total += std::exp(static_cast<double>(x[i]) - static_cast<double>(top));
  }
  return static_cast<float>(static_cast<double>(top) + std::log(total));
}

double kl_divergence(const float* lp, const float* lq, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double p = static_cast<double>(std::exp(lp[i]));
    if (p > 0) total += p * (static_cast<double>(lp[i]) - static_cast<double>(lq[i]));
  }
  return total;
}

float silu_of(float x) { return x / (1.0f + std::exp(-x)); }
float relu_of(float x) { return x < 0.0f ? 0.0f : x; }
// 1 + erf(t) as erfc(-t), which does not cancel in the left tail.
float gelu_erf_of(float x) { return 0.5f * x * std::erfc(-0.707106781f * x); }
float gelu_tanh_of(float x) {
  return 0.5f * x * (1.0f + std::tanh(0.797884561f * (x + 0.044715f * x * x * x)));
}

template <float (*kActivation)(float)>
void activate(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = kActivation(x[i]);
}
template <float (*kActivation)(float)>
void activate_mul(const float* gate, const float* up, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = kActivation(gate[i]) * up[i];
}

void soft_cap(float factor, float cap, float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = cap * std::tanh(factor * x[i] / cap);
}

void hadamard(float* x, int64_t n, int64_t block) {
  for (int64_t half = 1; half < block; half *= 2) {
    for (int64_t i = 0; i < n; i += 2 * half) {
      for (int64_t j = i; j < i + half; ++j) {
        const float a = x[j], b = x[j + half];
        x[j] = a + b;
        x[j + half] = a - b;
      }
    }
  }
}

void f16_to_f32(const uint16_t* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = to_float(Float16{x[i]});
}
void bf16_to_f32(const uint16_t* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = to_float(BFloat16{x[i]});
}
void f32_to_f16(const float* x, uint16_t* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = to_float16(x[i]).bits;
}
void f32_to_bf16(const float* x, uint16_t* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = to_bfloat16(x[i]).bits;
}

float f32_to_q8(const float* x, int8_t* y, int64_t n) {
  float widest = 0, poison = 0;
  for (int64_t i = 0; i < n; ++i) {
    widest = std::max(widest, std::abs(x[i]));
    poison += 0.0f * x[i];
  }
  const bool representable = widest > 1e-36f;
  const float inverse = representable ? 127.0f / widest : 0.0f;
  for (int64_t i = 0; i < n; ++i) {
    const float code = std::nearbyint(x[i] * inverse);
    y[i] = std::abs(code) <= 127.0f ? static_cast<int8_t>(code) : int8_t{-128};
  }
  return (representable ? widest / 127.0f : 0.0f) + poison;
}
void q8_rows_to_f32(const int8_t* x, const float* scales, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < n; ++c) y[r * n + c] = scales[r] * static_cast<float>(x[r * n + c]);
  }
}
void q8_cols_to_f32(const int8_t* x, const float* scales, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < n; ++c) y[r * n + c] = scales[c] * static_cast<float>(x[r * n + c]);
  }
}

}  // namespace

const Ops kOpsScalar = {
    .dot = dot,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
    .axpy = axpy,
    .mix = mix,
    .add = add,
    .scale = scale,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .softmax = softmax,
    .log_sum_exp = log_sum_exp,
    .max = max_of,
    .silu = activate<silu_of>,
    .relu = activate<relu_of>,
    .gelu_erf = activate<gelu_erf_of>,
    .gelu_tanh = activate<gelu_tanh_of>,
    .silu_mul = activate_mul<silu_of>,
    .relu_mul = activate_mul<relu_of>,
    .gelu_erf_mul = activate_mul<gelu_erf_of>,
    .gelu_tanh_mul = activate_mul<gelu_tanh_of>,
    .soft_cap = soft_cap,
    .kl_divergence = kl_divergence,
    .hadamard = hadamard,
    .f16_to_f32 = f16_to_f32,
    .bf16_to_f32 = bf16_to_f32,
    .f32_to_f16 = f32_to_f16,
    .f32_to_bf16 = f32_to_bf16,
    .f32_to_q8 = f32_to_q8,
    .q8_rows_to_f32 = q8_rows_to_f32,
    .q8_cols_to_f32 = q8_cols_to_f32,
    .extent = extent,
    .round_affine = round_affine,
    .add_squares = add_squares,
};

}  // namespace twofold

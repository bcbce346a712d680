// The vector operations of tensor/ops_table.h, written once over the vocabulary of <isa>/vec.h,
// which the including file brings along. Internal linkage: every instruction set has its own copy.
#pragma once

#include <cstdint>

#include "tensor/ops_table.h"
#include "tensor/simd/exact_loops.h"

namespace twofold {
namespace {

// e^x, within 2 ulp, subnormal results included; 0 below -104, infinity above 89, NaN stays.
// e^x = 2^n e^r with |r| <= ln(2)/2; ln 2 in two parts so that r is exact to float precision, and
// the minimax polynomial of the Cephes library for e^r.
inline Vec exp_vec(Vec x) {
  const Vec inside = min(set1(90.0f), max(set1(-106.0f), x));
  const Vec n = round_nearest(mul(inside, set1(1.44269504f)));
  Vec r = fnma(n, set1(0.693359375f), inside);
  r = fnma(n, set1(-2.12194440e-4f), r);
  Vec p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = fma(p, mul(r, r), add(r, set1(1.0f)));
  return times_pow2(p, n);
}

// x / (1 + e^-s): x times the logistic function of s.
inline Vec times_logistic(Vec x, Vec s) {
  return div(x, add(set1(1.0f), exp_vec(sub(set1(0.0f), s))));
}

inline Vec silu_vec(Vec x) { return times_logistic(x, x); }

// 0.5 x (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3).
inline Vec gelu_tanh_vec(Vec x) {
  const Vec cubic = fma(mul(x, x), mul(set1(0.044715f), x), x);
  return times_logistic(x, mul(set1(1.59576912f), cubic));
}

// x Phi(x) with the normal distribution function Phi(x) = (1 + erf t) / 2, t = x / sqrt(2).
// Near 0 erf is t + t s P(s), s = t^2; outside, 1 - erf |t| = exp Q(|t|), which keeps the left tail
// accurate where 1 + erf t would cancel. Q falls monotonically, so large |t| give 0.
inline Vec gelu_erf_vec(Vec x) {
  const Vec t = mul(x, set1(0.707106781f));
  const Vec a = min(set1(1e4f), abs(t));
  const Vec s = mul(t, t);
  Vec q = fma(set1(-1.72853470e-5f), a, set1(3.83197126e-4f));
  const Vec q1 = fma(set1(-3.88396438e-3f), a, set1(2.42546219e-2f));
  q = fma(q, mul(a, a), q1);
  q = fma(q, a, set1(-1.06777877e-1f));
  q = fma(q, a, set1(-6.34846687e-1f));
  q = fma(q, a, set1(-1.28717512e-1f));
  q = fma(q, a, sub(set1(0.0f), a));
  const Vec half_tail = mul(set1(0.5f), exp_vec(q));
  const Vec outside = select_greater(t, set1(0.0f), sub(set1(1.0f), half_tail), half_tail);
  Vec p = set1(-5.96761703e-4f);
  p = fma(p, s, set1(4.99119423e-3f));
  p = fma(p, s, set1(-2.67681349e-2f));
  p = fma(p, s, set1(1.12819925e-1f));
  p = fma(p, s, set1(-3.76125336e-1f));
  p = fma(p, s, set1(1.28379166e-1f));
  p = fma(p, t, t);
  const Vec inside = fma(set1(0.5f), p, set1(0.5f));
  return mul(x, select_greater(a, set1(0.927734375f), outside, inside));
}

// y[i] = f(x[i]).
template <class F>
inline void map(const float* x, float* y, int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, f(load(x + i)));
  if (i < n) store_part(y + i, f(load_part(x + i, n - i, 0.0f)), n - i);
}

// y[i] = f(a[i], b[i]).
template <class F>
inline void map2(const float* a, const float* b, float* y, int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, f(load(a + i), load(b + i)));
  if (i < n) {
    const int64_t rest = n - i;
    store_part(y + i, f(load_part(a + i, rest, 0.0f), load_part(b + i, rest, 0.0f)), rest);
  }
}

// The first n < kLanes 16-bit numbers at p, padded with zeros.
struct Part16 {
  uint16_t bits[kLanes];
};
inline Part16 load_part16(const uint16_t* p, int64_t n) {
  Part16 part = {};
  __builtin_memcpy(part.bits, p, static_cast<uint64_t>(n) * sizeof(uint16_t));
  return part;
}

struct StoredF32 {
  using Type = float;
  static Vec get(const float* p) { return load(p); }
  static Vec get_part(const float* p, int64_t n) { return load_part(p, n, 0.0f); }
};
struct StoredF16 {
  using Type = uint16_t;
  static Vec get(const uint16_t* p) { return load_f16(p); }
  static Vec get_part(const uint16_t* p, int64_t n) { return load_f16(load_part16(p, n).bits); }
};
struct StoredBF16 {
  using Type = uint16_t;
  static Vec get(const uint16_t* p) { return load_bf16(p); }
  static Vec get_part(const uint16_t* p, int64_t n) { return load_bf16(load_part16(p, n).bits); }
};

// Four chains, so that the loop is bound by loads and not by the latency of fma. The order of the
// sum is the same for every stored type.
template <class B>
inline float dot_stored(const float* a, const typename B::Type* b, int64_t n) {
  Vec s0 = set1(0.0f), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    s0 = fma(load(a + i), B::get(b + i), s0);
    s1 = fma(load(a + i + kLanes), B::get(b + i + kLanes), s1);
    s2 = fma(load(a + i + 2 * kLanes), B::get(b + i + 2 * kLanes), s2);
    s3 = fma(load(a + i + 3 * kLanes), B::get(b + i + 3 * kLanes), s3);
  }
  for (; i + kLanes <= n; i += kLanes) s0 = fma(load(a + i), B::get(b + i), s0);
  if (i < n) s1 = fma(load_part(a + i, n - i, 0.0f), B::get_part(b + i, n - i), s1);
  return sum(add(add(s0, s1), add(s2, s3)));
}

float dot(const float* a, const float* b, int64_t n) { return dot_stored<StoredF32>(a, b, n); }
float dot_f16(const float* a, const uint16_t* b, int64_t n) {
  return dot_stored<StoredF16>(a, b, n);
}
float dot_bf16(const float* a, const uint16_t* b, int64_t n) {
  return dot_stored<StoredBF16>(a, b, n);
}

void axpy(float s, const float* x, float* y, int64_t n) {
  const Vec factor = set1(s);
  map2(x, y, y, n, [factor](Vec a, Vec b) { return fma(factor, a, b); });
}
void mix(float a, float* y, float b, const float* x, int64_t n) {
  const Vec own = set1(a), other = set1(b);
  map2(x, y, y, n, [own, other](Vec in, Vec out) { return fma(other, in, mul(own, out)); });
}
void add_to(const float* x, float* y, int64_t n) {
  map2(x, y, y, n, [](Vec a, Vec b) { return add(a, b); });
}
void scale(float s, float* x, int64_t n) {
  const Vec factor = set1(s);
  map(x, x, n, [factor](Vec a) { return mul(factor, a); });
}

// Sum of f(x[i]); f(padding) must be 0 for the value `fill`.
template <class F>
inline float sum_map(const float* x, int64_t n, float fill, F f) {
  Vec s0 = set1(0.0f), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    s0 = add(s0, f(load(x + i)));
    s1 = add(s1, f(load(x + i + kLanes)));
    s2 = add(s2, f(load(x + i + 2 * kLanes)));
    s3 = add(s3, f(load(x + i + 3 * kLanes)));
  }
  for (; i + kLanes <= n; i += kLanes) s0 = add(s0, f(load(x + i)));
  if (i < n) s1 = add(s1, f(load_part(x + i, n - i, fill)));
  return sum(add(add(s0, s1), add(s2, s3)));
}

void rms_norm(const float* x, const float* w, float eps, float* y, int64_t n) {
  const float squares = sum_map(x, n, 0.0f, [](Vec a) { return mul(a, a); });
  const Vec inverse = set1(1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps));
  map2(x, w, y, n, [inverse](Vec a, Vec b) { return mul(mul(a, inverse), b); });
}

void layer_norm(const float* x, const float* w, const float* b, float eps, float* y, int64_t n) {
  const float mean = sum_map(x, n, 0.0f, [](Vec a) { return a; }) / static_cast<float>(n);
  const Vec middle = set1(mean);
  const auto squared_distance = [middle](Vec a) {
    const Vec d = sub(a, middle);
    return mul(d, d);
  };
  const float squares = sum_map(x, n, mean, squared_distance);
  const Vec inverse = set1(1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps));
  map2(x, w, y, n,
       [middle, inverse](Vec a, Vec c) { return mul(mul(sub(a, middle), inverse), c); });
  if (b != nullptr) add_to(b, y, n);
}

float max_of(const float* x, int64_t n) {
  const float none = -__builtin_inff();
  Vec m0 = set1(none), m1 = m0;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    m0 = max(m0, load(x + i));
    m1 = max(m1, load(x + i + kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) m0 = max(m0, load(x + i));
  if (i < n) m1 = max(m1, load_part(x + i, n - i, none));
  return largest(max(m0, m1));
}

// The largest factor x[i], factor > 0.
inline float max_scaled(float factor, const float* x, int64_t n) {
  const float none = -__builtin_inff();
  const Vec by = set1(factor);
  Vec m0 = set1(none), m1 = m0;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    m0 = max(m0, mul(by, load(x + i)));
    m1 = max(m1, mul(by, load(x + i + kLanes)));
  }
  for (; i + kLanes <= n; i += kLanes) m0 = max(m0, mul(by, load(x + i)));
  if (i < n) m1 = max(m1, mul(by, load_part(x + i, n - i, none)));
  return largest(max(m0, m1));
}

// e^x of a score below the largest, 0 below kNegligibleScore.
inline Vec weight_vec(Vec x) {
  const Vec least = set1(kNegligibleScore);
  return select_greater(least, x, set1(0.0f), exp_vec(max(least, x)));
}

void softmax(float factor, float* x, int64_t n, float* top, float* total) {
  const float none = -__builtin_inff();
  *top = max_scaled(factor, x, n);
  *total = 0;
  if (*top == none) {
    for (int64_t i = 0; i < n; ++i) x[i] = 0.0f;
    return;
  }
  const Vec by = set1(factor), shift = set1(*top);
  Vec s0 = set1(0.0f), s1 = s0;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const Vec e0 = weight_vec(sub(mul(by, load(x + i)), shift));
    const Vec e1 = weight_vec(sub(mul(by, load(x + i + kLanes)), shift));
    store(x + i, e0);
    store(x + i + kLanes, e1);
    s0 = add(s0, e0);
    s1 = add(s1, e1);
  }
  for (; i < n; i += kLanes) {
    const int64_t count = n - i < kLanes ? n - i : kLanes;
    const Vec in = count == kLanes ? load(x + i) : load_part(x + i, count, none);
    const Vec e = weight_vec(sub(mul(by, in), shift));
    count == kLanes ? store(x + i, e) : store_part(x + i, e, count);
    s0 = add(s0, e);
  }
  *total = sum(add(s0, s1));
  scale(1.0f / *total, x, n);
}

float log_sum_exp(const float* x, int64_t n) {
  const float none = -__builtin_inff();
  const float top = max_of(x, n);
  if (top == none) return none;
  const Vec shift = set1(top);
  VecD total = zero_double();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    total = add_double(total, exp_vec(sub(load(x + i), shift)));
  }
  if (i < n) total = add_double(total, exp_vec(sub(load_part(x + i, n - i, none), shift)));
  return static_cast<float>(static_cast<double>(top) + __builtin_log(sum_double(total)));
}

double kl_divergence(const float* lp, const float* lq, int64_t n) {
  const float none = -__builtin_inff();
  const auto term = [](Vec a, Vec b) {
    const Vec p = exp_vec(a);
    return select_greater(p, set1(0.0f), mul(p, sub(a, b)), set1(0.0f));
  };
  VecD total = zero_double();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) total = add_double(total, term(load(lp + i), load(lq + i)));
  if (i < n) {
    const int64_t rest = n - i;
    total = add_double(total, term(load_part(lp + i, rest, none), load_part(lq + i, rest, 0.0f)));
  }
  return sum_double(total);
}

inline Vec relu_vec(Vec x) { return max(set1(0.0f), x); }

void silu(const float* x, float* y, int64_t n) { map(x, y, n, silu_vec); }
void relu(const float* x, float* y, int64_t n) { map(x, y, n, relu_vec); }
void gelu_erf(const float* x, float* y, int64_t n) { map(x, y, n, gelu_erf_vec); }
void gelu_tanh(const float* x, float* y, int64_t n) { map(x, y, n, gelu_tanh_vec); }

// y[i] = f(gate[i]) up[i].
template <class F>
inline void map_mul(const float* gate, const float* up, float* y, int64_t n, F f) {
  map2(gate, up, y, n, [f](Vec a, Vec b) { return mul(f(a), b); });
}
void silu_mul(const float* gate, const float* up, float* y, int64_t n) {
  map_mul(gate, up, y, n, silu_vec);
}
void relu_mul(const float* gate, const float* up, float* y, int64_t n) {
  map_mul(gate, up, y, n, relu_vec);
}
void gelu_erf_mul(const float* gate, const float* up, float* y, int64_t n) {
  map_mul(gate, up, y, n, gelu_erf_vec);
}
void gelu_tanh_mul(const float* gate, const float* up, float* y, int64_t n) {
  map_mul(gate, up, y, n, gelu_tanh_vec);
}

// tanh u = 1 - 2 / (1 + e^2u).
void soft_cap(float factor, float cap, float* x, int64_t n) {
  const Vec twice = set1(2.0f * factor / cap), top = set1(cap), fall = set1(2.0f * cap);
  map(x, x, n, [&](Vec v) { return sub(top, div(fall, add(set1(1.0f), exp_vec(mul(twice, v))))); });
}

// 1 in lanes whose number has a 0 at kDistance, -1 in the others.
template <int kDistance>
inline Vec butterfly_signs() {
  alignas(64) float signs[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) signs[i] = (i & kDistance) == 0 ? 1.0f : -1.0f;
  return load(signs);
}

// Sums in lanes below, differences in lanes above: pairs of lanes kDistance apart.
template <int kDistance>
inline Vec butterfly(Vec a) {
  return fma(a, butterfly_signs<kDistance>(), swap_lanes<kDistance>(a));
}

inline Vec hadamard_lanes(Vec a) {
  a = butterfly<4>(butterfly<2>(butterfly<1>(a)));
  if constexpr (kLanes == 16) a = butterfly<kLanes / 2>(a);
  return a;
}

// A block of kVectors registers, all steps without going through memory.
template <int kVectors>
inline void hadamard_registers(float* x) {
  Vec r[kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) r[i] = hadamard_lanes(load(x + i * kLanes));
#pragma GCC unroll 3
  for (int half = 1; half < kVectors; half *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      if ((i & half) != 0) continue;
      const Vec low = r[i];
      r[i] = add(low, r[i + half]);
      r[i + half] = sub(low, r[i + half]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) store(x + i * kLanes, r[i]);
}

// Steps of the butterfly from distance `half` up to whole blocks, in memory.
inline void hadamard_steps(float* x, int64_t n, int64_t half, int64_t block) {
  for (; half < block; half *= 2) {
    for (int64_t i = 0; i < n; i += 2 * half) {
      for (int64_t j = i; j < i + half; ++j) {
        const float low = x[j], high = x[j + half];
        x[j] = low + high;
        x[j + half] = low - high;
      }
    }
  }
}

// The order of the steps is that of the scalar table, and every step is one addition: all
// instruction sets give the same numbers.
void hadamard(float* x, int64_t n, int64_t block) {
  if (block < kLanes) {
    hadamard_steps(x, n, 1, block);
    return;
  }
  const int64_t inner = block < 8 * kLanes ? block : 8 * kLanes;
  for (int64_t i = 0; i < n; i += inner) {
    if (inner == 8 * kLanes) {
      hadamard_registers<8>(x + i);
    } else if (inner == 4 * kLanes) {
      hadamard_registers<4>(x + i);
    } else if (inner == 2 * kLanes) {
      hadamard_registers<2>(x + i);
    } else {
      hadamard_registers<1>(x + i);
    }
  }
  hadamard_steps(x, n, inner, block);
}

void f16_to_f32(const uint16_t* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load_f16_exact(x + i));
  if (i < n) store_part(y + i, load_f16_exact(load_part16(x + i, n - i).bits), n - i);
}
void bf16_to_f32(const uint16_t* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load_bf16(x + i));
  if (i < n) store_part(y + i, load_bf16(load_part16(x + i, n - i).bits), n - i);
}

// y[i] = narrowed x[i], `narrow_to` storing kLanes numbers.
template <class F>
inline void narrow_all(const float* x, uint16_t* y, int64_t n, F narrow_to) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) narrow_to(y + i, load(x + i));
  if (i < n) {
    Part16 part;
    narrow_to(part.bits, load_part(x + i, n - i, 0.0f));
    __builtin_memcpy(y + i, part.bits, static_cast<uint64_t>(n - i) * sizeof(uint16_t));
  }
}
void f32_to_f16(const float* x, uint16_t* y, int64_t n) { narrow_all(x, y, n, store_f16); }
void f32_to_bf16(const float* x, uint16_t* y, int64_t n) { narrow_all(x, y, n, store_bf16); }

// The first n < kLanes bytes at p, padded with zeros.
struct Part8 {
  int8_t bytes[kLanes];
};
inline Part8 load_part8(const int8_t* p, int64_t n) {
  Part8 part = {};
  __builtin_memcpy(part.bytes, p, static_cast<uint64_t>(n));
  return part;
}

float f32_to_q8(const float* x, int8_t* y, int64_t n) {
  // Products with 0 are 0 or, of numbers that are not finite, NaN, which max would lose.
  Vec top = set1(0.0f), poison = top;
  int64_t i = 0;
  for (; i < n; i += kLanes) {
    const Vec in = i + kLanes <= n ? load(x + i) : load_part(x + i, n - i, 0.0f);
    top = max(top, abs(in));
    poison = fma(in, set1(0.0f), poison);
  }
  const float widest = largest(top);
  const bool representable = widest > 1e-36f;
  const Vec inverse = set1(representable ? 127.0f / widest : 0.0f);
  for (i = 0; i + kLanes <= n; i += kLanes) {
    store_i8(y + i, round_nearest(mul(load(x + i), inverse)));
  }
  if (i < n) {
    Part8 part;
    store_i8(part.bytes, round_nearest(mul(load_part(x + i, n - i, 0.0f), inverse)));
    __builtin_memcpy(y + i, part.bytes, static_cast<uint64_t>(n - i));
  }
  return (representable ? widest / 127.0f : 0.0f) + sum(poison);
}

void q8_rows_to_f32(const int8_t* x, const float* scales, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const Vec by = set1(scales[r]);
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(y + i, mul(by, load_i8(x + i)));
    if (i < n) store_part(y + i, mul(by, load_i8(load_part8(x + i, n - i).bytes)), n - i);
  }
}

void q8_cols_to_f32(const int8_t* x, const float* scales, float* y, int64_t rows, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec by = load(scales + i);
    for (int64_t r = 0; r < rows; ++r) store(y + r * n + i, mul(by, load_i8(x + r * n + i)));
  }
  if (i == n) return;
  const Vec by = load_part(scales + i, n - i, 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    store_part(y + r * n + i, mul(by, load_i8(load_part8(x + r * n + i, n - i).bytes)), n - i);
  }
}

constexpr Ops kVectorOps = {
    .dot = dot,
    .dot_f16 = dot_f16,
    .dot_bf16 = dot_bf16,
    .axpy = axpy,
    .mix = mix,
    .add = add_to,
    .scale = scale,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .softmax = softmax,
    .log_sum_exp = log_sum_exp,
    .max = max_of,
    .silu = silu,
    .relu = relu,
    .gelu_erf = gelu_erf,
    .gelu_tanh = gelu_tanh,
    .silu_mul = silu_mul,
    .relu_mul = relu_mul,
    .gelu_erf_mul = gelu_erf_mul,
    .gelu_tanh_mul = gelu_tanh_mul,
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

}  // namespace
}  // namespace twofold

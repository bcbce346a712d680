// Matrices for tests: random weights, and random quantized matrices of any scheme.
#pragma once

#include <cmath>
#include <string_view>
#include <vector>

#include "base/float16.h"
#include "base/rng.h"
#include "quant/quantized_matrix.h"

namespace twofold::testing {

/// Normal numbers with deviation `sigma`, [count].
inline std::vector<float> normal_numbers(int64_t count, double sigma, std::string_view key) {
  Rng rng(1, key);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = static_cast<float>(sigma * rng.normal());
  return values;
}

/// Codes and parameters drawn freely from everything `scheme` can hold.
inline QuantizedMatrix random_quantized(const Scheme& scheme, int64_t rows, int64_t cols,
                                        std::string_view key) {
  Rng rng(2, key);
  QuantizedMatrix q;
  q.scheme = scheme;
  q.rows = rows;
  q.cols = cols;
  q.codes.resize(static_cast<size_t>(rows * cols));
  for (uint16_t& code : q.codes) code = static_cast<uint16_t>(rng.below(1u << scheme.bits));
  if (scheme.kind == ValueKind::kTrellis) {
    link_symbols(q);
    do {
      for (uint8_t& row : q.mixing) row = static_cast<uint8_t>(rng.below(kTrellisLevels));
    } while (!is_invertible(q.mixing));
  }
  const auto fill = [&](std::vector<float>& values, int64_t count, auto&& draw) {
    values.resize(static_cast<size_t>(count));
    for (float& value : values) value = draw();
  };
  const auto half = [&] { return round_to_float16(static_cast<float>(rng.normal() * 0.02)); };
  const int64_t sets = q.parameter_sets(scheme.scale_sharing);
  fill(q.scale, sets, [&] {
    return scheme.scale_sharing == Sharing::kMatrix ? static_cast<float>(rng.normal()) : half();
  });
  if (scheme.kind == ValueKind::kAffine) {
    if (scheme.zero == ZeroKind::kUnsigned) {
      fill(q.zero, sets, [&] { return static_cast<float>(rng.below(256)); });
    }
    if (scheme.zero == ZeroKind::kFloat) fill(q.zero, sets, half);
    return q;
  }
  q.scheme.level_exponent = static_cast<int>(rng.below(41)) - 20;
  if (scheme.has_offset) fill(q.offset, sets, half);
  if (scheme.planes) {
    const size_t count = size_t{1} << scheme.bits;
    for (int64_t set = 0; set < q.parameter_sets(scheme.table_sharing); ++set) {
      int n[4] = {}, rest = 128;
      for (int p = 0; p < scheme.bits; ++p)
        rest -= n[p] = static_cast<int>(rng.below(static_cast<uint32_t>(rest)));
      for (size_t code = 0; code < count; ++code) {
        int sum = 0;
        for (int p = 0; p < scheme.bits; ++p) sum += (code >> p & 1u) != 0 ? n[p] : -n[p];
        q.levels.push_back(static_cast<float>(sum));
      }
    }
    return q;
  }
  const int index_bits = scheme.kind == ValueKind::kTrellis ? kTrellisIndexBits : scheme.bits;
  fill(q.levels, q.parameter_sets(scheme.table_sharing) << index_bits, [&]() -> float {
    switch (scheme.level_type) {
      case LevelType::kInt8:
        return static_cast<float>(static_cast<int>(rng.below(256)) - 128);
      case LevelType::kInt16:
        return static_cast<float>(static_cast<int>(rng.below(65536)) - 32768);
      case LevelType::kFloat32:
        return static_cast<float>(rng.normal() * 1e3);
    }
    return 0;
  });
  return q;
}

}  // namespace twofold::testing

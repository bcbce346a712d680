// Random float matrices for the tests of this layer, with room between rows that must stay as it
// was.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "base/cpu.h"
#include "tensor/tensor.h"

namespace twofold {

inline constexpr float kUntouched = -12345.0f;

struct RandomMatrix {
  /// [rows, cols] normal numbers, rows cols + gap elements apart, gaps holding kUntouched.
  RandomMatrix(int64_t rows, int64_t cols, int64_t gap, uint32_t seed)
      : numbers(static_cast<size_t>(rows * (cols + gap)), kUntouched),
        view(numbers.data(), rows, cols, cols + gap) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t r = 0; r < rows; ++r) {
      for (float& number : view.row(r)) number = normal(random);
    }
  }
  RandomMatrix(const RandomMatrix&) = delete;
  RandomMatrix& operator=(const RandomMatrix&) = delete;

  bool gaps_untouched() const {
    for (int64_t r = 0; r < view.rows; ++r) {
      for (int64_t c = view.cols; c < view.stride; ++c) {
        if (view.data[r * view.stride + c] != kUntouched) return false;
      }
    }
    return true;
  }

  std::vector<float> numbers;
  Matrix<float> view;
};

/// The instruction sets this machine can run.
inline std::vector<Isa> usable_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : all_isas()) {
    if (cpu_has(isa)) isas.push_back(isa);
  }
  return isas;
}

}  // namespace twofold

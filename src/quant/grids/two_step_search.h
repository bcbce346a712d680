// The search of GPTQT's grid (arXiv:2407.02891, as reconstructed in docs/methods/gptqt.md): which
// 2^b of the integers 0 to N = 2^B - 1 with binary-coding structure, and which scale,
//
//   C(l; d_1 >= ... >= d_b >= 1) = { l + sum over i of t_i d_i : t_i in {0, 1} },  l + sum d_i <= N
//
// give a row the least weighted error in two steps: u = clamp(round(w / s) + z, 0, N), then the
// element of C nearest to u (ties to the smaller), value s (c - z).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "quant/grids/row_table.h"
#include "tensor/tensor.h"

namespace twofold {

struct Codebook {
  int low = 0;                         // l
  std::array<int, kMaxPlanes> d = {};  // decreasing; unused ones are 0
};

/// Number of codebooks for B step bits and b bits.
int64_t count_codebooks(int step_bits, int bits);

/// All codebooks in a fixed order (d_1, d_2, ..., l ascending). Immutable; shared by all rows.
class CodebookList {
 public:
  CodebookList(int step_bits, int bits);
  int step_bits() const { return step_bits_; }
  int bits() const { return bits_; }
  size_t size() const { return codebooks_.size(); }
  const Codebook& operator[](size_t i) const { return codebooks_[i]; }
  /// [2^bits] per codebook: the places of neighbouring elements in the table of steps, then the
  /// largest element.
  const uint16_t* places(size_t i) const { return places_.data() + (i << bits_); }

 private:
  int step_bits_, bits_;
  std::vector<Codebook> codebooks_;
  std::vector<uint16_t> places_;
};

/// Place of the pair c <= c' in a triangular table.
constexpr int pair_place(int c, int next) { return next * (next + 1) / 2 + c; }

struct TwoStepFit {
  double scale = 0;  // s = factor s0
  double zero = 0;   // z, a whole number
  double loss = 0;   // weighted squared error of the two steps
  Codebook codebook;
};

/// Which scales are tried with every codebook.
enum class ScaleSearch {
  kAll,
  /// Every third one. The best codebooks of each are then tried with all scales, with the same
  /// integers and with the same values, and the best of each scale are changed by single steps as
  /// long as that helps.
  kCoarseToFine,
};

/// Rows that are searched together.
constexpr int kSearchRows = 8;

/// The best (factor, codebook) of up to kSearchRows rows. s0 and z are min-max at B bits (GPTQ,
/// arXiv:2210.17323). Among equals the first factor and the first codebook win. The codebook of a
/// factor is chosen in float32, factors are compared in float64. The loss found by kCoarseToFine
/// is at most 1 % above the least one on test rows.
/// @param weight     [rows, n], rows <= kSearchRows.
/// @param importance [n], not negative, or empty for 1 each.
/// @param factors    in the order of trial.
void search_two_step(const CodebookList& list, Matrix<const float> weight,
                     std::span<const float> importance, std::span<const double> factors,
                     ScaleSearch scales, std::span<TwoStepFit> fits);

}  // namespace twofold

// Bitshift trellis code with windows made for byte shuffles (after QTIP, arXiv:2406.11235,
// Sec. 3.1).
//
// A tile of 16 rows x 16 columns is one sequence of 256 steps, row by row: step t = 16 row +
// column. Its stream has 256 k bits, k = bits per weight. The code of step t is the window of
// `window` bits that begins at bit k t of the stream, which is a circle (tail-biting): two
// neighbours share window - k bits. With lo = the low 6 bits of a window (the oldest) and hi =
// those above,
//   index = A lo xor hi  over GF(2),   value = level[index], 64 levels.
// Steps outside a matrix whose sides are not multiples of 16 have the bits k t to k t + k - 1 zero.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>

namespace twofold {

constexpr int64_t kTrellisTile = 16;  // rows and columns of a tile
constexpr int64_t kTrellisSteps = kTrellisTile * kTrellisTile;
constexpr int kTrellisIndexBits = 6;
constexpr int kTrellisLevels = 1 << kTrellisIndexBits;

/// Row i is the mask of the bits of lo whose parity is bit i of A lo.
using TrellisMixing = std::array<uint8_t, kTrellisIndexBits>;

/// Whether tiles of `bits` bits per weight can have windows of `window` bits, 12 or 6 (the light
/// code): these are a multiple of those, and share bits.
constexpr bool is_trellis(int bits, int window) {
  return bits >= 1 && bits <= 4 && (window == 12 || window == 6) && window % bits == 0 &&
         window > bits;
}

inline int trellis_index(const TrellisMixing& mixing, uint32_t window) {
  const uint32_t lo = window & (kTrellisLevels - 1);
  uint32_t index = window >> kTrellisIndexBits;
  for (int i = 0; i < kTrellisIndexBits; ++i) {
    const auto row = static_cast<uint32_t>(mixing[static_cast<size_t>(i)]);
    index ^= static_cast<uint32_t>(std::popcount(row & lo) & 1) << i;
  }
  return static_cast<int>(index);
}

/// Whether A is an invertible matrix [6, 6] over GF(2): else some levels are out of reach.
bool is_invertible(const TrellisMixing& mixing);

using TrellisTile = std::array<uint16_t, kTrellisSteps>;  // a number for each step
/// The windows of a tile. @param symbols bits k t to k t + k - 1 of the stream for each step t.
TrellisTile trellis_windows(const TrellisTile& symbols, int bits, int window);

/// Calls body(step, row * cols + column) for the steps of a tile that lie in a matrix [rows, cols].
template <class Body>
void for_trellis_steps(int64_t rows, int64_t cols, int64_t block, int64_t tile, const Body& body) {
  for (int64_t step = 0; step < kTrellisSteps; ++step) {
    const int64_t row = block * kTrellisTile + step / kTrellisTile;
    const int64_t col = tile * kTrellisTile + step % kTrellisTile;
    if (row < rows && col < cols) {
      body(static_cast<size_t>(step), static_cast<size_t>(row * cols + col));
    }
  }
}

/// The index of each window, [2^window].
void fill_trellis_indices(const TrellisMixing& mixing, int window, std::span<uint8_t> index);

/// What the trainer of tools/ found for a rate, for a source of variance 1.
struct TrellisCode {
  int bits = 0, window = 0;
  TrellisMixing mixing{};
  std::array<int8_t, kTrellisLevels> levels{};
  double unit = 0;  // value of a level of 1, if the source has variance 1
};
/// The only constants of the code; files carry their own.
extern const std::array<TrellisCode, 7> kTrainedTrellisCodes;
/// @throws Error(kInvalidArgument) if there is none: see is_trellis.
const TrellisCode& trained_trellis_code(int bits, int window);

}  // namespace twofold

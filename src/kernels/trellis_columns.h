// Internal to the folders of instruction sets: what their values of a trellis share
// (docs/formats.md). A vector has a lane of 32 bits for each row of a step; byte i of a lane
// belongs to run i, eight columns of the row.
#pragma once

#include "kernels/kernel.h"

namespace {

/// The values of a step by columns of a run.
/// @tparam Values derived from this; `column<k>(step)` are column k of each run, in place.
template <class Values>
struct TrellisColumns {
  static constexpr int kColumns = 32;

  /// The columns j, j + 8, j + 16 and j + 24 of the step.
  [[gnu::always_inline]] inline auto value(const uint8_t* step, int j) const {
    const auto& own = static_cast<const Values&>(*this);
    switch (j) {
      case 0:
        return own.template column<0>(step);
      case 1:
        return own.template column<1>(step);
      case 2:
        return own.template column<2>(step);
      case 3:
        return own.template column<3>(step);
      case 4:
        return own.template column<4>(step);
      case 5:
        return own.template column<5>(step);
      case 6:
        return own.template column<6>(step);
      default:
        return own.template column<7>(step);
    }
  }

  /// Columns 4 j to 4 j + 3 to vector j: two transpositions of 4 x 4 bytes in each lane.
  template <class Ints>
  [[gnu::always_inline]] inline void unpack(const uint8_t* step, Ints (&out)[8]) const {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const Ints a = value(step, 4 * half), b = value(step, 4 * half + 1);
      const Ints c = value(step, 4 * half + 2), d = value(step, 4 * half + 3);
      const Ints ab0 = even_then_even<1>(a, b), ab1 = odd_then_odd<1>(a, b);
      const Ints cd0 = even_then_even<1>(c, d), cd1 = odd_then_odd<1>(c, d);
      out[half] = even_then_even<2>(ab0, cd0);
      out[2 + half] = even_then_even<2>(ab1, cd1);
      out[4 + half] = odd_then_odd<2>(ab0, cd0);
      out[6 + half] = odd_then_odd<2>(ab1, cd1);
    }
  }
};

template <int kBits, int kWindow>
bool accepts_windows(const twofold::WeightKind& kind) {
  return kind.values == twofold::WeightValues::kTrellis && kind.bits == kBits &&
         kind.window == kWindow;
}

}  // namespace

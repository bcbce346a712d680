// Where trellis_body.h keeps what in vectors of 32 lanes, for windows of 12 bits. Plain data.
#pragma once

#include <cstdint>

namespace twofold {

constexpr int kTrellisWindow = 12;
constexpr int kTrellisLanes = 32;
constexpr int kTrellisOffsets = 64;  // vectors of branch costs

template <int kBits>
struct TrellisLayout {
  static constexpr int kRepeated = kBits == 4 ? 1 : 0;   // bits of a symbol that are lanes
  static constexpr int kSymbolBits = kBits - kRepeated;  // that name vectors
  static constexpr int kLaneBits = 5 - kRepeated;        // of an overlap
  static constexpr int kOverlapBits = kTrellisWindow - kBits;
  static constexpr int kVectorBits = kOverlapBits - kLaneBits;
  static constexpr int kKeptBits = kVectorBits - kBits;  // of b'
  static constexpr int kKeptMask = (1 << kKeptBits) - 1;
  static constexpr int kVectors = 1 << kVectorBits;
  static constexpr int kGroups = 1 << (kSymbolBits + kKeptBits);  // vectors [n | b']
  static constexpr int kNodes = (1 << kBits) - 1;  // comparisons for the least of 2^bits
  static constexpr int64_t kSurvivorBytes = int64_t{4} * kGroups * kNodes;

  static constexpr int overlap(int vector, int lane) {
    return (lane & ((1 << kLaneBits) - 1)) << kVectorBits | vector;
  }
  /// The window of a lane of the first vector of branches; of the first lane of any.
  static constexpr int lane_window(int lane) {
    return overlap(0, lane) | lane >> kLaneBits << kOverlapBits;
  }
  static constexpr int vector_window(int branch) {
    return (branch & (kVectors - 1)) | branch >> kVectorBits << (kOverlapBits + kRepeated);
  }
};

}  // namespace twofold

// The constant tables of the machine probes: loops that measure what an instruction set can do at
// most. Plain data only, because the files of single instruction sets include this header.
#pragma once

#include <cstdint>

namespace twofold {

/// A loop over registers that does nothing but the instruction a kernel would be made of. A
/// multiplication and an addition count as two operations.
struct PeakLoop {
  const char* instruction;  // "vpdpbusd zmm"
  int64_t operations;       // of one round
  void (*run)(int64_t rounds);
};

struct ProbeTable {
  PeakLoop integer;  // products of 8-bit numbers, or what comes nearest
  PeakLoop floating;
  /// Sum of the 32-bit words of a buffer, modulo 2^32: one stream, read as fast as it goes.
  /// @param lines number of 64-byte lines, a multiple of 4. @param data aligned to 64 bytes.
  uint32_t (*sum_lines)(const void* data, int64_t lines);
};

extern const ProbeTable kProbeScalar;
extern const ProbeTable kProbeAvx2;
extern const ProbeTable kProbeAvx512;
extern const ProbeTable kProbeAvx512Vnni;
extern const ProbeTable kProbeAmx;

}  // namespace twofold

// Probe of AMX: four accumulators of 16 x 16 in the tiles, as the GEMM holds them.
#include <immintrin.h>

#include "base/amx_tiles.h"
#include "kernels/avx512/probe_loops.h"

namespace twofold {
namespace {

void run_integer(int64_t rounds) {
  _tile_loadconfig(&kWholeAmxTiles);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
}

}  // namespace

const ProbeTable kProbeAmx = {
    .integer = {"tdpbusd", 2 * int64_t{4} * 16 * 16 * 64, run_integer},
    .floating = kFma512,
    .sum_lines = sum_lines_512,
};

}  // namespace twofold

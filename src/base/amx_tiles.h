// What LDTILECFG reads, for the files that are compiled for AMX. Plain data.
#pragma once

#include <cstdint>

namespace twofold {

struct alignas(64) AmxTileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(AmxTileConfig) == 64);

/// Eight tiles of 16 rows x 64 bytes. A constant in memory: GCC 12 believes that LDTILECFG reads 8
/// bytes only.
constexpr AmxTileConfig kWholeAmxTiles = {.row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                          .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

}  // namespace twofold

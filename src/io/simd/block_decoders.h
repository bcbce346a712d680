// Table of the decoders that have a version per instruction set: the block types with one scale,
// which models are run from directly. Plain data, so that files compiled for one set can include
// it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace twofold::ggml {

/// Each decodes `count` blocks of 32 weights at `blocks` to `out`, [32 count]; layouts in
/// io/ggml_blocks.cpp. All instruction sets give the same bits.
struct BlockDecoders {
  void (*q4_0)(const std::byte* blocks, int64_t count, float* out);
  void (*q4_1)(const std::byte* blocks, int64_t count, float* out);
  void (*q8_0)(const std::byte* blocks, int64_t count, float* out);
};

extern const BlockDecoders kAvx2BlockDecoders;

}  // namespace twofold::ggml

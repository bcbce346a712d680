// Decoders of ggml's block types. Each block holds a fixed number of weights with their scales;
// layouts are given beside each decoder in ggml_blocks.cpp. Pure functions; no alignment needed.
// Results equal those of the `gguf` Python package bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.h"
#include "io/simd/block_decoders.h"

namespace twofold::ggml {

inline constexpr int64_t kBlock = 32;  // weights in a block of the simple types

/// The decoders for `isa`; the CPU must have it.
const BlockDecoders& block_decoders(Isa isa);

// Each decodes `count` blocks at `blocks` to `out`, [count * weights per block]. Q4_0,
// Q4_1 and Q8_0 use the instruction set that `select_isa` gives at the first call.
void decode_q4_0(const std::byte* blocks, int64_t count, float* out);
void decode_q4_1(const std::byte* blocks, int64_t count, float* out);
void decode_q5_0(const std::byte* blocks, int64_t count, float* out);
void decode_q5_1(const std::byte* blocks, int64_t count, float* out);
void decode_q8_0(const std::byte* blocks, int64_t count, float* out);
void decode_q2_k(const std::byte* blocks, int64_t count, float* out);
void decode_q3_k(const std::byte* blocks, int64_t count, float* out);
void decode_q4_k(const std::byte* blocks, int64_t count, float* out);
void decode_q5_k(const std::byte* blocks, int64_t count, float* out);
void decode_q6_k(const std::byte* blocks, int64_t count, float* out);

}  // namespace twofold::ggml

#include "io/ggml_blocks.h"

#include <array>
#include <cstring>

#include "base/float16.h"

namespace twofold::ggml {
namespace {

const uint8_t* as_bytes(const std::byte* p) { return reinterpret_cast<const uint8_t*>(p); }

float load_f16(const uint8_t* p) {
  return to_float(Float16{static_cast<uint16_t>(p[0] | (p[1] << 8))});
}

uint32_t load_u32(const uint8_t* p) {
  return p[0] | (uint32_t{p[1]} << 8) | (uint32_t{p[2]} << 16) | (uint32_t{p[3]} << 24);
}

/// The eight 6-bit scales and minima of Q4_K and Q5_K in 12 bytes: scales 0 to 3 and minima 0 to 3
/// are the low six bits of bytes 0 to 3 and 4 to 7; of the others the low four bits are the nibbles
/// of bytes 8 to 11 and the high two bits the top bits of bytes 0 to 7.
struct ScalesAndMinima {
  std::array<uint8_t, 8> scale;
  std::array<uint8_t, 8> minimum;
};

ScalesAndMinima unpack_scales(const uint8_t* packed) {
  ScalesAndMinima result;
  for (size_t i = 0; i < 4; ++i) {
    const uint8_t s = packed[i], m = packed[4 + i], rest = packed[8 + i];
    result.scale[i] = s & 63;
    result.minimum[i] = m & 63;
    result.scale[4 + i] = static_cast<uint8_t>((rest & 15) | ((s >> 6) << 4));
    result.minimum[4 + i] = static_cast<uint8_t>((rest >> 4) | ((m >> 6) << 4));
  }
  return result;
}

// scale f16, 16 bytes: weights i and i + 16 are the low and high nibble of byte i, minus 8.
void scalar_q4_0(const std::byte* blocks, int64_t count, float* out) {
  constexpr int64_t kBytes = 18;
  for (int64_t b = 0; b < count; ++b, out += kBlock) {
    const uint8_t* block = as_bytes(blocks) + b * kBytes;
    const float scale = load_f16(block);
    const uint8_t* codes = block + 2;
    for (int64_t i = 0; i < 16; ++i) {
      out[i] = scale * static_cast<float>((codes[i] & 15) - 8);
      out[16 + i] = scale * static_cast<float>((codes[i] >> 4) - 8);
    }
  }
}

// scale f16, minimum f16, 16 bytes of nibbles as in Q4_0.
void scalar_q4_1(const std::byte* blocks, int64_t count, float* out) {
  constexpr int64_t kBytes = 20;
  for (int64_t b = 0; b < count; ++b, out += kBlock) {
    const uint8_t* block = as_bytes(blocks) + b * kBytes;
    const float scale = load_f16(block);
    const float minimum = load_f16(block + 2);
    const uint8_t* codes = block + 4;
    for (int64_t i = 0; i < 16; ++i) {
      out[i] = scale * static_cast<float>(codes[i] & 15) + minimum;
      out[16 + i] = scale * static_cast<float>(codes[i] >> 4) + minimum;
    }
  }
}

// scale f16, 32 int8.
void scalar_q8_0(const std::byte* blocks, int64_t count, float* out) {
  constexpr int64_t kBytes = 34;
  for (int64_t b = 0; b < count; ++b, out += kBlock) {
    const uint8_t* block = as_bytes(blocks) + b * kBytes;
    const float scale = load_f16(block);
    const auto* codes = reinterpret_cast<const int8_t*>(block + 2);
    for (int64_t i = 0; i < kBlock; ++i) out[i] = static_cast<float>(codes[i]) * scale;
  }
}

constexpr BlockDecoders kScalarBlockDecoders = {scalar_q4_0, scalar_q4_1, scalar_q8_0};

const BlockDecoders& chosen() {
  static const BlockDecoders& table = block_decoders(select_isa());
  return table;
}

}  // namespace

const BlockDecoders& block_decoders(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return kScalarBlockDecoders;
    case Isa::kAvx2:
    case Isa::kAvx512:
    case Isa::kAvx512Vnni:
    case Isa::kAmx:  // the work is bound by stores, which AVX2 fills
#ifdef TWOFOLD_X86_TABLES
      return kAvx2BlockDecoders;
#else
      break;
#endif
  }
  return kScalarBlockDecoders;
}

void decode_q4_0(const std::byte* blocks, int64_t count, float* out) {
  chosen().q4_0(blocks, count, out);
}

void decode_q4_1(const std::byte* blocks, int64_t count, float* out) {
  chosen().q4_1(blocks, count, out);
}

void decode_q8_0(const std::byte* blocks, int64_t count, float* out) {
  chosen().q8_0(blocks, count, out);
}

// scale f16, 4 bytes with the fifth bit of weight i in bit i, 16 bytes of nibbles as in Q4_0;
// minus 16.
void decode_q5_0(const std::byte* blocks, int64_t count, float* out) {
  constexpr int64_t kBytes = 22;
  for (int64_t b = 0; b < count; ++b, out += kBlock) {
    const uint8_t* block = as_bytes(blocks) + b * kBytes;
    const float scale = load_f16(block);
    const uint32_t high = load_u32(block + 2);
    const uint8_t* codes = block + 6;
    for (uint32_t i = 0; i < 16; ++i) {
      const int low_half = (codes[i] & 15) | static_cast<int>((high >> i & 1) << 4);
      const int high_half = (codes[i] >> 4) | static_cast<int>((high >> (16 + i) & 1) << 4);
      out[i] = scale * static_cast<float>(low_half - 16);
      out[16 + i] = scale * static_cast<float>(high_half - 16);
    }
  }
}

// scale f16, minimum f16, then as Q5_0.
void decode_q5_1(const std::byte* blocks, int64_t count, float* out) {
  constexpr int64_t kBytes = 24;
  for (int64_t b = 0; b < count; ++b, out += kBlock) {
    const uint8_t* block = as_bytes(blocks) + b * kBytes;
    const float scale = load_f16(block);
    const float minimum = load_f16(block + 2);
    const uint32_t high = load_u32(block + 4);
    const uint8_t* codes = block + 8;
    for (uint32_t i = 0; i < 16; ++i) {
      const int low_half = (codes[i] & 15) | static_cast<int>((high >> i & 1) << 4);
      const int high_half = (codes[i] >> 4) | static_cast<int>((high >> (16 + i) & 1) << 4);
      out[i] = scale * static_cast<float>(low_half) + minimum;
      out[16 + i] = scale * static_cast<float>(high_half) + minimum;
    }
  }
}

// 16 bytes: 4-bit scale (low) and minimum (high) of each 16 weights; 64 bytes of 2-bit codes: byte
// 32 h + l holds weights 128 h + 32 s + l at bit 2 s; scale f16, scale of the minima f16.
void decode_q2_k(const std::byte* blocks, int64_t count, float* out) {
  constexpr int64_t kBytes = 84;
  for (int64_t b = 0; b < count; ++b) {
    const uint8_t* scales = as_bytes(blocks) + b * kBytes;
    const uint8_t* codes = scales + 16;
    const float scale = load_f16(scales + 80);
    const float minimum_scale = load_f16(scales + 82);
    for (int64_t group = 0; group < 16; ++group, out += 16) {
      const float s = scale * static_cast<float>(scales[group] & 15);
      const float m = minimum_scale * static_cast<float>(scales[group] >> 4);
      const uint8_t* line = codes + 32 * (group / 8) + 16 * (group % 2);
      const int64_t shift = group / 2 % 4 * 2;
      for (int64_t i = 0; i < 16; ++i) {
        out[i] = s * static_cast<float>(line[i] >> shift & 3) - m;
      }
    }
  }
}

// 32 bytes: bit k of byte l is set if weight 32 k + l has no 4 subtracted; 64 bytes of 2-bit codes
// as in Q2_K; 12 bytes: 6-bit scales of each 16 weights, minus 32: low four bits in the nibbles of
// bytes 0 to 7 (scales 0 to 7 low, 8 to 15 high), high two bits of scale k at bit 2 (k / 4) of byte
// 8 + k % 4; scale f16.
void decode_q3_k(const std::byte* blocks, int64_t count, float* out) {
  constexpr int64_t kBytes = 110;
  for (int64_t b = 0; b < count; ++b) {
    const uint8_t* high = as_bytes(blocks) + b * kBytes;
    const uint8_t* codes = high + 32;
    const uint8_t* scales = high + 96;
    const float scale = load_f16(high + 108);
    for (int64_t group = 0; group < 16; ++group, out += 16) {
      const int low_bits = scales[group % 8] >> (group / 8 * 4) & 15;
      const int high_bits = scales[8 + group % 4] >> (group / 4 * 2) & 3;
      const float s = scale * static_cast<float>((low_bits | high_bits << 4) - 32);
      const uint8_t* line = codes + 32 * (group / 8) + 16 * (group % 2);
      const uint8_t* mask = high + 16 * (group % 2);
      const int64_t shift = group / 2 % 4 * 2;
      const int64_t bit = group / 2;
      for (int64_t i = 0; i < 16; ++i) {
        const int code = (line[i] >> shift & 3) + ((mask[i] >> bit & 1) << 2) - 4;
        out[i] = s * static_cast<float>(code);
      }
    }
  }
}

// scale f16, scale of the minima f16, 12 bytes (unpack_scales), 128 bytes of nibbles: byte 32 p + l
// holds weights 64 p + l (low) and 64 p + 32 + l (high).
void decode_q4_k(const std::byte* blocks, int64_t count, float* out) {
  constexpr int64_t kBytes = 144;
  for (int64_t b = 0; b < count; ++b) {
    const uint8_t* block = as_bytes(blocks) + b * kBytes;
    const float scale = load_f16(block);
    const float minimum_scale = load_f16(block + 2);
    const ScalesAndMinima packed = unpack_scales(block + 4);
    const uint8_t* codes = block + 16;
    for (size_t pair = 0; pair < 4; ++pair, codes += 32, out += 64) {
      const float s0 = scale * packed.scale[2 * pair];
      const float m0 = minimum_scale * packed.minimum[2 * pair];
      const float s1 = scale * packed.scale[2 * pair + 1];
      const float m1 = minimum_scale * packed.minimum[2 * pair + 1];
      for (int64_t i = 0; i < 32; ++i) {
        out[i] = s0 * static_cast<float>(codes[i] & 15) - m0;
        out[32 + i] = s1 * static_cast<float>(codes[i] >> 4) - m1;
      }
    }
  }
}

// As Q4_K, with 32 bytes between scales and nibbles: bit k of byte l is the fifth bit of weight
// 32 k + l.
void decode_q5_k(const std::byte* blocks, int64_t count, float* out) {
  constexpr int64_t kBytes = 176;
  for (int64_t b = 0; b < count; ++b) {
    const uint8_t* block = as_bytes(blocks) + b * kBytes;
    const float scale = load_f16(block);
    const float minimum_scale = load_f16(block + 2);
    const ScalesAndMinima packed = unpack_scales(block + 4);
    const uint8_t* high = block + 16;
    const uint8_t* codes = block + 48;
    for (size_t pair = 0; pair < 4; ++pair, codes += 32, out += 64) {
      const float s0 = scale * packed.scale[2 * pair];
      const float m0 = minimum_scale * packed.minimum[2 * pair];
      const float s1 = scale * packed.scale[2 * pair + 1];
      const float m1 = minimum_scale * packed.minimum[2 * pair + 1];
      for (int64_t i = 0; i < 32; ++i) {
        const int fifth_bits = high[i] >> (2 * pair);
        out[i] = s0 * static_cast<float>((codes[i] & 15) | (fifth_bits & 1) << 4) - m0;
        out[32 + i] = s1 * static_cast<float>((codes[i] >> 4) | (fifth_bits >> 1 & 1) << 4) - m1;
      }
    }
  }
}

// 128 bytes of low nibbles: byte 64 h + l (l < 64) holds weights 128 h + l (low) and 128 h + 64 + l
// (high); 64 bytes of high bits: byte 32 h + l holds those of weight 128 h + 32 s + l at bit 2 s;
// 16 int8 scales of 16 weights each; scale f16. Codes minus 32.
void decode_q6_k(const std::byte* blocks, int64_t count, float* out) {
  constexpr int64_t kBytes = 210;
  for (int64_t b = 0; b < count; ++b) {
    const uint8_t* low = as_bytes(blocks) + b * kBytes;
    const uint8_t* high = low + 128;
    const auto* scales = reinterpret_cast<const int8_t*>(low + 192);
    const float scale = load_f16(low + 208);
    for (int64_t group = 0; group < 16; ++group, out += 16) {
      const float s = scale * static_cast<float>(scales[group]);
      const uint8_t* low_line = low + 64 * (group / 8) + 16 * (group % 4);
      const int64_t low_shift = group / 4 % 2 * 4;
      const uint8_t* high_line = high + 32 * (group / 8) + 16 * (group % 2);
      const int64_t high_shift = group / 2 % 4 * 2;
      for (int64_t i = 0; i < 16; ++i) {
        const int code = (low_line[i] >> low_shift & 15) | (high_line[i] >> high_shift & 3) << 4;
        out[i] = s * static_cast<float>(code - 32);
      }
    }
  }
}

}  // namespace twofold::ggml

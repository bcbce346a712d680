// The bytes of R16 blobs: places worked out by hand from docs/formats.md.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/float16.h"
#include "formats/format.h"
#include "formats/r16_layout.h"
#include "support/matrices.h"

namespace twofold {
namespace {

/// A matrix of zeros with one code set; parameters 1 and 0.
QuantizedMatrix one_code(std::string_view format, int64_t rows, int64_t cols, int64_t row,
                         int64_t col, uint16_t code) {
  QuantizedMatrix q = testing::random_quantized(parse_format(format).scheme, rows, cols, "one");
  std::fill(q.codes.begin(), q.codes.end(), uint16_t{0});
  q.codes[static_cast<size_t>(row * cols + col)] = code;
  return q;
}

uint8_t byte_at(const PackedMatrix& packed, size_t at) {
  return static_cast<uint8_t>(packed.bytes.view.bytes[at]);
}

TEST(R16Layout, FourBitCodesAreNibblesOfLinesOfEightColumns) {
  // Row 17 is row 1 of block 1; a block has 40 columns / 8 = 5 lines, then 32 bytes of scales,
  // padded to 6 x 64 bytes. Column 22 = line 2, byte 22 % 4 = 2, high nibble (22 % 8 / 4 = 1).
  const PackedMatrix packed = pack(one_code("r16-s4", 20, 40, 17, 22, 11));
  EXPECT_EQ(packed.bytes.view.bytes.size(), 2u * 6 * 64);
  EXPECT_EQ(byte_at(packed, 6 * 64 + 2 * 64 + 1 * 4 + 2), 11 << 4);
}

TEST(R16Layout, ThreeBitCodesAreTwoBitAndOneBitLines) {
  // Per step of 32 columns two lines of 2-bit fields (16 columns each), then one of 1-bit fields.
  // Column 53 = step 1, column 21 in it: 2-bit line 1, column 5 in it: byte 1, position 1;
  // 1-bit line, byte 21 % 4 = 1, position 21 / 4 = 5. Code 6 = 2 + 4.
  const PackedMatrix packed = pack(one_code("r16-s3", 1, 64, 0, 53, 6));
  EXPECT_EQ(byte_at(packed, (3 + 1) * 64 + 1), 2 << 2);
  EXPECT_EQ(byte_at(packed, (3 + 2) * 64 + 1), 1 << 5);
}

/// Bits of a byte of the blob, from bit `first` on.
struct Stored {
  size_t byte;
  int first;
  unsigned bits;
};

TEST(R16Layout, ExamplesOfTheDocumentation) {
  const struct {
    const char* format;
    int64_t col;
    uint16_t code;
    std::vector<Stored> stored;
  } kExamples[] = {
      {"r16-u2", 22, 3, {{70, 2, 3}}},
      {"r16-u3", 53, 6, {{261, 2, 2}, {325, 5, 1}}},
      {"r16-u4", 22, 11, {{134, 4, 11}}},
      {"r16-u5", 22, 21, {{134, 4, 5}, {262, 5, 1}}},
      {"r16-u6", 22, 37, {{198, 4, 5}, {326, 2, 2}}},
      {"r16-u7", 22, 101, {{134, 4, 5}, {326, 2, 2}, {390, 5, 1}}},
      {"r16-u8", 22, 200, {{326, 0, 200}}},
      {"r16-b1", 22, 1, {{5, 6, 1}}},
      {"r16-b2", 22, 2, {{69, 2, 0}, {69, 6, 1}}},
      {"r16-b3", 22, 6, {{69, 2, 0}, {69, 6, 1}, {133, 6, 1}}},
      {"r16-b4", 22, 9, {{133, 2, 1}, {133, 6, 0}, {197, 2, 0}, {197, 6, 1}}},
  };
  for (const auto& example : kExamples) {
    const PackedMatrix packed =
        pack(one_code(example.format, 16, 64, 1, example.col, example.code));
    const Format format = parse_format(example.format);
    const auto code_bytes = static_cast<size_t>(r16_layout(format.scheme, 16, 64, "").scales_at);
    std::vector<uint8_t> expected(code_bytes);
    for (const Stored& s : example.stored) {
      expected[s.byte] = static_cast<uint8_t>(expected[s.byte] | s.bits << s.first);
    }
    for (size_t at = 0; at < code_bytes; ++at) {
      EXPECT_EQ(byte_at(packed, at), expected[at]) << example.format << " byte " << at;
    }
  }
}

TEST(R16Layout, ParametersFollowTheCodesOfTheirBlock) {
  QuantizedMatrix q = testing::random_quantized(parse_format("r16-u2-g32").scheme, 3, 70, "p");
  const PackedMatrix packed = pack(q);
  // Groups of 32, 32 and 6 columns: 2 + 2 + 1 lines; then 3 x 16 scales f16, 3 x 16 zeros u8.
  const size_t scales = 5 * 64, zeros = scales + 3 * 16 * 2;
  EXPECT_EQ(packed.bytes.view.bytes.size(), 8u * 64);
  uint16_t scale = 0;
  std::memcpy(&scale, packed.bytes.view.bytes.data() + scales + (1 * 16 + 2) * 2, 2);
  EXPECT_EQ(to_float(Float16{scale}), q.scale[2 * 3 + 1]);
  EXPECT_EQ(byte_at(packed, zeros + 1 * 16 + 2), q.zero[2 * 3 + 1]);
}

TEST(R16Layout, SharedTableIsInTheTail) {
  QuantizedMatrix q = testing::random_quantized(parse_format("r16-t3w-m").scheme, 1, 32, "t");
  const PackedMatrix packed = pack(q);
  EXPECT_EQ(packed.bytes.view.bytes.size(), 3u * 64 + 64);
  const std::byte* tail = packed.bytes.view.bytes.data() + 3 * 64;
  float scale = 0;
  int32_t exponent = 0;
  int16_t level = 0;
  std::memcpy(&scale, tail, 4);
  std::memcpy(&exponent, tail + 8, 4);
  std::memcpy(&level, tail + 16 + 2 * 5, 2);
  EXPECT_EQ(scale, q.scale[0]);
  EXPECT_EQ(exponent, q.scheme.level_exponent);
  EXPECT_EQ(static_cast<float>(level), q.levels[5]);
}

TEST(R16Layout, PlanesLieInNibbles) {
  QuantizedMatrix q = testing::random_quantized(parse_format("r16-b3").scheme, 16, 32, "planes");
  const PackedMatrix packed = pack(q);
  const std::byte* blob = packed.bytes.view.bytes.data();
  for (int64_t row = 0; row < 16; ++row) {
    for (int64_t col = 0; col < 32; ++col) {
      const unsigned code = q.codes[static_cast<size_t>(row * 32 + col)];
      const auto bit = [&](int64_t line, int64_t place) {
        return static_cast<unsigned>(blob[line * 64 + row * 4 + col % 16 / 4]) >> place & 1u;
      };
      EXPECT_EQ(bit(col / 16, col % 4), code & 1u);
      EXPECT_EQ(bit(col / 16, 4 + col % 4), code >> 1 & 1u);
      EXPECT_EQ(bit(2, col / 16 * 4 + col % 4), code >> 2 & 1u);
    }
    for (size_t p = 0; p < 3; ++p) {
      const auto n = static_cast<float>(blob[3 * 64 + 64 + row * 3 + static_cast<int64_t>(p)]);
      EXPECT_EQ(2 * n, q.levels[static_cast<size_t>(row * 8) + (size_t{1} << p)] -
                           q.levels[static_cast<size_t>(row * 8)]);
    }
  }
}

TEST(R16Layout, TrellisStreamsLieInRunsOfEightColumns) {
  for (const char* name : {"r16-tr1", "r16-tr2", "r16-tr3", "r16-tr4", "r16-tr2s"}) {
    const QuantizedMatrix q =
        testing::random_quantized(parse_format(name).scheme, 20, 50, "trellis");
    const PackedMatrix packed = pack(q);
    const int k = q.scheme.bits;
    // Two steps of 32 columns, k lines each; 32 bytes of scales; tail of 92 bytes.
    const size_t block = (2 * static_cast<size_t>(k) + 1) * 64;
    ASSERT_EQ(packed.bytes.view.bytes.size(), 2 * block + 128) << name;
    for (int64_t row = 0; row < 20; ++row) {
      for (int64_t col = 0; col < 50; ++col) {
        for (int i = 0; i < k; ++i) {
          const int64_t bit = col % 8 * k + i;  // of the run
          const int64_t line = col / 32 * k + bit / 8;
          const int64_t at = line * 64 + row % 16 * 4 + col % 32 / 8;
          EXPECT_EQ(
              byte_at(packed, static_cast<size_t>(row) / 16 * block + static_cast<size_t>(at)) >>
                      (bit % 8) &
                  1,
              q.codes[static_cast<size_t>(row * 50 + col)] >> i & 1)
              << name << " " << row << ", " << col;
        }
      }
    }
    const size_t tail = 2 * block;
    EXPECT_EQ(static_cast<int8_t>(byte_at(packed, tail + 16 + 63)), q.levels[63]);
    EXPECT_EQ(byte_at(packed, tail + 80 + 5), q.mixing[5]);
    EXPECT_EQ(byte_at(packed, tail + 86), q.scheme.window);
  }
}

TEST(R16Layout, CountsEveryByte) {
  QuantizedMatrix q = testing::random_quantized(parse_format("r16-u4-g128").scheme, 64, 512, "b");
  // 4 bits, and (16 + 8) / 128 for scale and zero; 4 groups x 16 x 3 bytes fill lines exactly.
  EXPECT_DOUBLE_EQ(bits_per_weight(pack(q)), 4 + 24.0 / 128);
}

TEST(ByteKinds, OfEveryFormatAndShapeSumToTheBlob) {
  for (const FormatFamily& family : all_format_families()) {
    for (const std::string& name : family.example_names()) {
      const Format format = parse_format(name);
      for (const auto& [rows, cols] : {std::pair{1, 1}, {16, 32}, {17, 70}, {48, 128}}) {
        const ByteKinds kinds = byte_kinds(format, rows, cols);
        EXPECT_EQ(kinds.sum(), packed_bytes(format, rows, cols)) << name;
        for (const ByteKind& kind : all_byte_kinds()) {
          EXPECT_GE(kinds.*kind.bytes, 0) << name << " " << kind.name;
        }
        EXPECT_EQ(kinds.numbers > 0, family.dense) << name;
        if (family.dense) continue;
        EXPECT_EQ(kinds.codes, (rows * cols * format.scheme.bits + 7) / 8) << name;
      }
    }
  }
}

TEST(ByteKinds, BytesThatAreNoPaddingAreAtLeastThoseThatAreEverNotZero) {
  constexpr int64_t kRows = 17, kCols = 96;  // whole steps: a byte of codes has no padding
  for (const FormatFamily& family : all_format_families()) {
    if (family.dense) continue;
    for (const std::string& name : family.example_names()) {
      const Format format = parse_format(name);
      std::vector<bool> used(static_cast<size_t>(packed_bytes(format, kRows, kCols)));
      for (int draw = 0; draw < 8; ++draw) {
        const PackedMatrix packed = pack(testing::random_quantized(
            format.scheme, kRows, kCols, fmt::format("{} {}", name, draw)));
        for (size_t at = 0; at < used.size(); ++at) {
          if (byte_at(packed, at) != 0) used[at] = true;
        }
      }
      const ByteKinds kinds = byte_kinds(format, kRows, kCols);
      EXPECT_LE(std::ranges::count(used, true), kinds.sum() - kinds.padding) << name;
    }
  }
}

TEST(ByteKinds, WorkedOutByHand) {
  const struct {
    const char* format;
    int64_t rows, cols;
    ByteKinds kinds;
  } kCases[] = {
      {"f16", 3, 5, {.numbers = 30}},
      {"r16-u4-g128", 32, 256, {.codes = 4096, .scales = 128, .zeros = 64, .padding = 2 * 32}},
      {"r16-zf3-m", 16, 32, {.codes = 192, .scales = 4, .zeros = 4, .padding = 56}},
      {"r16-t4w", 16, 8, {.codes = 64, .scales = 32, .tables = 4 + 32, .padding = 32 + 28}},
      {"r16-rt2",
       16,
       32,
       {.codes = 128, .scales = 32, .offsets = 32, .tables = 16 * 4 + 4, .padding = 60}},
      {"r16-b3",
       16,
       32,
       {.codes = 192, .scales = 32, .offsets = 32, .tables = 16 * 3 + 4, .padding = 16 + 60}},
      // Tables: exponent, levels, mixing, window, checksum.
      {"r16-tr2",
       16,
       32,
       {.codes = 128, .scales = 32, .tables = 4 + 64 + 6 + 1 + 4, .padding = 32 + 49}},
  };
  for (const auto& example : kCases) {
    const ByteKinds kinds = byte_kinds(parse_format(example.format), example.rows, example.cols);
    for (const ByteKind& kind : all_byte_kinds()) {
      EXPECT_EQ(kinds.*kind.bytes, example.kinds.*kind.bytes) << example.format << kind.name;
    }
  }
}

TEST(FirstRows, DecodeAsTheyDidInTheWholeMatrix) {
  constexpr int64_t kRows = 40, kCols = 70;
  for (const FormatFamily& family : all_format_families()) {
    if (family.dense) continue;
    for (const std::string& name : family.example_names()) {
      const PackedMatrix whole =
          pack(testing::random_quantized(parse_format(name).scheme, kRows, kCols, name));
      for (const int64_t rows : {int64_t{16}, int64_t{32}, kRows}) {
        const PackedMatrix part = first_rows(whole, rows);
        family.check(part, name);
        std::vector<float> expected(static_cast<size_t>(rows * kCols)), found(expected.size());
        family.decode_rows(whole, 0, rows, expected.data(), kCols);
        family.decode_rows(part, 0, rows, found.data(), kCols);
        EXPECT_EQ(found, expected) << name;
      }
    }
  }
}

}  // namespace
}  // namespace twofold

// The bytes of R16 blobs: places worked out by hand from docs/formats.md, checksums of whole blobs,
// and refusal of damaged ones.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/float16.h"
#include "formats/format.h"
#include "support/matrices.h"
#include "support/paths.h"

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

TEST(R16Check, RefusesIntegersOfPlanesThatNoTableHolds) {
  PackedMatrix packed =
      pack(testing::random_quantized(parse_format("r16-b2").scheme, 1, 16, "integers"));
  for (const auto& [first, second] : {std::pair{-1, 3}, {64, 64}, {127, 1}, {3, -128}}) {
    std::vector<std::byte> bytes(packed.bytes.view.bytes.begin(), packed.bytes.view.bytes.end());
    bytes[64 + 64] = static_cast<std::byte>(first);
    bytes[64 + 65] = static_cast<std::byte>(second);
    Tensor tensor = packed.bytes;
    tensor.view.bytes = bytes;
    EXPECT_THROW(open_packed(packed.format, 1, 16, tensor, "w"), Error) << first;
  }
}

TEST(R16Layout, CountsEveryByte) {
  QuantizedMatrix q = testing::random_quantized(parse_format("r16-u4-g128").scheme, 64, 512, "b");
  // 4 bits, and (16 + 8) / 128 for scale and zero; 4 groups x 16 x 3 bytes fill lines exactly.
  EXPECT_DOUBLE_EQ(bits_per_weight(pack(q)), 4 + 24.0 / 128);
}

/// FNV-1a, 64 bits.
uint64_t checksum(std::span<const std::byte> bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (std::byte b : bytes) hash = (hash ^ static_cast<uint64_t>(b)) * 0x100000001b3u;
  return hash;
}

TEST(R16Layout, BlobsKeepTheirChecksums) {
  std::map<std::string, std::string> stored;
  std::istringstream file(testing::read_file(testing::test_data("formats/checksums.txt")));
  for (std::string name, hash; file >> name >> hash;) stored[name] = hash;
  size_t found = 0;
  for (const FormatFamily& family : all_format_families()) {
    if (family.dense) continue;
    for (const std::string& name : family.example_names()) {
      const PackedMatrix packed =
          pack(testing::random_quantized(parse_format(name).scheme, 19, 77, name));
      const std::string hash = fmt::format("{:016x}", checksum(packed.bytes.view.bytes));
      EXPECT_EQ(stored[name], hash) << "a released layout must not change\n" << name << " " << hash;
      ++found;
    }
  }
  EXPECT_EQ(stored.size(), found);
}

/// Writes `value` at byte `at` of a copy of `packed` and expects the check to name it.
template <class T>
void expect_refused(const PackedMatrix& packed, size_t at, T value) {
  std::vector<std::byte> bytes(packed.bytes.view.bytes.begin(), packed.bytes.view.bytes.end());
  std::memcpy(bytes.data() + at, &value, sizeof(value));
  PackedMatrix damaged = packed;
  damaged.bytes.view.bytes = bytes;
  try {
    damaged.format.family->check(damaged, "file.safetensors: w");
    FAIL() << packed.format.name << " at " << at;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruptFile);
    EXPECT_NE(std::string(error.what()).find("file.safetensors: w"), std::string::npos);
  }
}

TEST(R16Check, RefusesParametersThatAreNotFinite) {
  const auto packed = [](std::string_view name) {
    return pack(testing::random_quantized(parse_format(name).scheme, 1, 8, name));
  };
  constexpr uint16_t kInf16 = 0x7c00, kNan16 = 0x7e00;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  expect_refused(packed("r16-u4"), 64, kInf16);               // scale
  expect_refused(packed("r16-zf4"), 64, kNan16);              // scale
  expect_refused(packed("r16-zf4"), 64 + 32, kNan16);         // zero
  expect_refused(packed("r16-rt4"), 64, kNan16);              // scale
  expect_refused(packed("r16-rt4"), 64 + 32, kInf16);         // offset
  expect_refused(packed("r16-u4-m"), 64, kNan);               // scale
  expect_refused(packed("r16-u4-m"), 64 + 4, 0.5f);           // zero
  expect_refused(packed("r16-u4-m"), 64 + 4, 256.0f);         // zero
  expect_refused(packed("r16-zf4-m"), 64 + 4, kNan);          // zero
  expect_refused(packed("r16-t4"), 2 * 64 + 8, int32_t{65});  // exponent
  expect_refused(packed("r16-t4"), 2 * 64 + 8, std::numeric_limits<int>::min());
  expect_refused(packed("r16-t4f"), 2 * 64 + 16, kNan);           // level 0
  expect_refused(packed("r16-t4f"), 2 * 64 + 16 + 15 * 4, kNan);  // level 15
}

TEST(R16Check, DecodesUnalignedBytes) {
  // Foreign safetensors files promise no alignment.
  const PackedMatrix packed =
      pack(testing::random_quantized(parse_format("r16-t5f-g32").scheme, 18, 70, "unaligned"));
  std::vector<std::byte> bytes(packed.bytes.view.bytes.size() + 1);
  std::copy(packed.bytes.view.bytes.begin(), packed.bytes.view.bytes.end(), bytes.begin() + 1);
  Tensor tensor = packed.bytes;
  tensor.view.bytes = std::span<const std::byte>(bytes).subspan(1);
  const PackedMatrix moved = open_packed(packed.format, 18, 70, tensor, "w");
  EXPECT_TRUE(unpack(moved) == unpack(packed));
}

}  // namespace
}  // namespace twofold

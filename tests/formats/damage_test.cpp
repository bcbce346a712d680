// Damaged blobs are refused with their name when they are opened; unaligned ones work.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "base/error.h"
#include "formats/format.h"
#include "formats/r16_layout.h"
#include "support/matrices.h"

namespace twofold {
namespace {

constexpr int64_t kRows = 18, kCols = 70;  // two blocks; with groups of 32 the last has 6 columns

std::vector<std::string> packed_names() {
  std::vector<std::string> names;
  for (const FormatFamily& family : all_format_families()) {
    if (family.dense) continue;
    for (std::string& name : family.example_names()) names.push_back(std::move(name));
  }
  return names;
}

PackedMatrix random_packed(std::string_view name, int64_t rows, int64_t cols) {
  return pack(testing::random_quantized(parse_format(name).scheme, rows, cols, name));
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

TEST(R16Check, RefusesParametersOutOfRange) {
  const auto packed = [](std::string_view name) { return random_packed(name, 1, 8); };
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

TEST(TrellisCheck, RefusesEveryDamagedByteOfItsDescription) {
  for (const std::string& name : packed_names()) {
    const Scheme scheme = parse_format(name).scheme;
    if (scheme.kind != ValueKind::kTrellis) continue;
    const PackedMatrix packed = random_packed(name, kRows, kCols);
    const auto tail = static_cast<size_t>(r16_layout(scheme, kRows, kCols, name).tail_at);
    const std::span<const std::byte> bytes = packed.bytes.view.bytes;
    for (size_t at = tail; at < tail + kTrellisTailBytes; ++at) {
      for (const unsigned change : {1u, 0x80u, 0xffu}) {
        expect_refused(packed, at, static_cast<uint8_t>(static_cast<unsigned>(bytes[at]) ^ change));
      }
    }
  }
}

std::string refusal(const PackedMatrix& packed, std::string_view name) {
  try {
    open_packed(parse_format(name), packed.rows, packed.cols, packed.bytes, "w");
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing";
}

TEST(TrellisCheck, NamesAWindowThatIsNotThatOfTheFormat) {
  EXPECT_NE(refusal(random_packed("r16-tr2s", kRows, kCols), "r16-tr2")
                .find("r16-tr2 has windows of 12 bits, found 6"),
            std::string::npos);
}

TEST(TrellisCheck, NamesAMixingThatIsNotInvertible) {
  const PackedMatrix packed = random_packed("r16-tr3", kRows, kCols);
  std::vector<std::byte> bytes(packed.bytes.view.bytes.begin(), packed.bytes.view.bytes.end());
  const int64_t at = r16_layout(packed.format.scheme, kRows, kCols, "").tail_at + kTrellisMixingAt;
  bytes[static_cast<size_t>(at)] = bytes[static_cast<size_t>(at) + 1];
  PackedMatrix damaged = packed;
  damaged.bytes.view.bytes = bytes;
  EXPECT_NE(refusal(damaged, "r16-tr3").find("no invertible matrix"), std::string::npos);
}

/// Puts numbers that are not finite at `at`, as long as the stored type.
void expect_not_finite_refused(const PackedMatrix& packed, int64_t at, int64_t bytes) {
  const auto place = static_cast<size_t>(at);
  if (bytes == 2) {
    for (const uint16_t value : std::initializer_list<uint16_t>{0x7c00, 0xfc00, 0x7e00})
      expect_refused(packed, place, value);
    return;
  }
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (float value : {kInf, -kInf, std::numeric_limits<float>::quiet_NaN()}) {
    expect_refused(packed, place, value);
  }
}

TEST(R16Check, RefusesWhatIsNotFiniteInEveryFormat) {
  for (const std::string& name : packed_names()) {
    const PackedMatrix packed = random_packed(name, kRows, kCols);
    const Scheme& scheme = packed.format.scheme;
    const R16Layout layout = r16_layout(scheme, kRows, kCols, name);
    for (const int64_t row : {int64_t{0}, kBlockRows - 1, kBlockRows, kRows - 1}) {
      const int64_t block = row / kBlockRows * layout.block_bytes;
      for (int64_t set = 0; set < layout.scale_sets; ++set) {
        const int64_t at = 2 * (set * kBlockRows + row % kBlockRows);
        expect_not_finite_refused(packed, block + layout.scales_at + at, 2);
        if (layout.zero_bytes == 2) {
          expect_not_finite_refused(packed, block + layout.zeros_at + at, 2);
        }
        if (scheme.has_offset) expect_not_finite_refused(packed, block + layout.offsets_at + at, 2);
      }
    }
    if (layout.scale_sets == 0) {
      expect_not_finite_refused(packed, layout.tail_at, 4);
      expect_not_finite_refused(packed, layout.tail_at + 4, 4);
    }
    if (scheme.kind == ValueKind::kTable && scheme.level_type == LevelType::kFloat32) {
      for (int64_t level = 0; level < int64_t{1} << scheme.bits; ++level) {
        expect_not_finite_refused(packed, layout.tail_at + kTailHeaderBytes + 4 * level, 4);
      }
    }
  }
}

TEST(R16Check, RefusesOtherLengths) {
  for (const std::string& name : packed_names()) {
    const PackedMatrix packed = random_packed(name, kRows, kCols);
    const std::span<const std::byte> good = packed.bytes.view.bytes;
    for (const int64_t change : {-64, -1, 1, 64}) {
      std::vector<std::byte> bytes(good.begin(), good.end());
      bytes.resize(good.size() + static_cast<size_t>(change));
      Tensor tensor = packed.bytes;
      tensor.view.bytes = bytes;
      try {
        open_packed(packed.format, kRows, kCols, tensor, "file.safetensors: w");
        ADD_FAILURE() << name << ", length changed by " << change;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCorruptFile);
        EXPECT_EQ(std::string(error.what()).find("file.safetensors: w"), 0u) << error.what();
        EXPECT_NE(std::string(error.what()).find(std::to_string(bytes.size())), std::string::npos)
            << error.what();
      }
    }
  }
}

// Foreign safetensors files promise no alignment.
TEST(R16Check, UnalignedBytesMeanTheSame) {
  std::vector<float> rows(kRows * kCols), expected(kRows * kCols);
  for (const std::string& name : packed_names()) {
    const PackedMatrix packed = random_packed(name, kRows, kCols);
    packed.format.family->decode_rows(packed, 0, kRows, expected.data(), kCols);
    const std::span<const std::byte> good = packed.bytes.view.bytes;
    for (const size_t shift : {size_t{1}, size_t{2}, size_t{36}}) {
      std::vector<std::byte> bytes(good.size() + shift);
      std::copy(good.begin(), good.end(), bytes.begin() + static_cast<int64_t>(shift));
      Tensor tensor = packed.bytes;
      tensor.view.bytes = std::span<const std::byte>(bytes).subspan(shift);
      const PackedMatrix moved = open_packed(packed.format, kRows, kCols, tensor, "w");
      EXPECT_TRUE(unpack(moved) == unpack(packed)) << name;
      packed.format.family->decode_rows(moved, 0, kRows, rows.data(), kCols);
      EXPECT_EQ(std::memcmp(rows.data(), expected.data(), rows.size() * sizeof(float)), 0) << name;
    }
  }
}

}  // namespace
}  // namespace twofold

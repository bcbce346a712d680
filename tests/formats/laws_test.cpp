// The laws of formats, over every example name of every family: round trip and decode.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/float16.h"
#include "formats/format.h"
#include "support/matrices.h"

namespace twofold {
namespace {

struct Shape2 {
  int64_t rows, cols;
};
// One row, one column, ragged last groups and blocks, sides of real models.
constexpr Shape2 kShapes[] = {{1, 1}, {1, 37}, {16, 1}, {17, 65}, {33, 192}, {48, 300}};

std::vector<std::string> names(bool dense) {
  std::vector<std::string> all;
  for (const FormatFamily& family : all_format_families()) {
    if (family.dense != dense) continue;
    for (std::string& name : family.example_names()) all.push_back(std::move(name));
  }
  return all;
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
}

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }

class PackedFormat : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, PackedFormat, ::testing::ValuesIn(names(false)), test_name);

TEST_P(PackedFormat, NameRoundTrips) {
  const Format format = parse_format(GetParam());
  EXPECT_EQ(format_for(format.scheme).name, GetParam());
  EXPECT_FALSE(format.is_dense());
}

TEST_P(PackedFormat, UnpackUndoesPack) {
  for (const Shape2& shape : kShapes) {
    const QuantizedMatrix q = testing::random_quantized(parse_format(GetParam()).scheme, shape.rows,
                                                        shape.cols, GetParam());
    const PackedMatrix packed = pack(q);
    EXPECT_EQ(packed.format.name, GetParam());
    EXPECT_EQ(packed.bytes.view.bytes.size() % 64, 0u);
    EXPECT_TRUE(unpack(packed) == q) << shape.rows << " x " << shape.cols;
  }
}

TEST_P(PackedFormat, RowDecoderEqualsDequantizeBitForBit) {
  for (const Shape2& shape : kShapes) {
    const QuantizedMatrix q = testing::random_quantized(parse_format(GetParam()).scheme, shape.rows,
                                                        shape.cols, GetParam());
    std::vector<float> expected(q.codes.size()), row(static_cast<size_t>(q.cols));
    dequantize(q, {expected.data(), q.rows, q.cols});
    const PackedMatrix packed = pack(q);
    for (int64_t r = 0; r < q.rows; ++r) {
      packed.format.family->decode_row(packed, r, row.data());
      for (int64_t c = 0; c < q.cols; ++c) {
        ASSERT_EQ(bits_of(row[static_cast<size_t>(c)]),
                  bits_of(expected[static_cast<size_t>(r * q.cols + c)]))
            << r << ", " << c;
      }
    }
  }
}

TEST_P(PackedFormat, FastRowsEqualTheRowDecoderBitForBit) {
  // 600 columns cross the segments of the fast decoder.
  for (const Shape2& shape : {Shape2{1, 1}, Shape2{17, 65}, Shape2{50, 600}}) {
    const PackedMatrix packed = pack(testing::random_quantized(parse_format(GetParam()).scheme,
                                                               shape.rows, shape.cols, GetParam()));
    const auto source = make_row_source(packed);
    const int64_t stride = shape.cols + 3;
    for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, shape.rows},
                                       {shape.rows / 2, shape.rows - shape.rows / 2},
                                       {shape.rows - 1, 1}}) {
      std::vector<float> rows(static_cast<size_t>(count * stride), 7.0f);
      std::vector<float> expected(static_cast<size_t>(shape.cols));
      source->decode_rows(begin, count, rows.data(), stride);
      for (int64_t r = 0; r < count; ++r) {
        packed.format.family->decode_row(packed, begin + r, expected.data());
        ASSERT_EQ(
            std::memcmp(rows.data() + r * stride, expected.data(), expected.size() * sizeof(float)),
            0)
            << shape.rows << " x " << shape.cols << ", row " << begin + r;
        for (int64_t c = shape.cols; c < stride; ++c) {
          ASSERT_EQ(rows[static_cast<size_t>(r * stride + c)], 7.0f) << "wrote beyond the row";
        }
      }
    }
  }
}

TEST_P(PackedFormat, WrongLengthIsRefused) {
  const Format format = parse_format(GetParam());
  PackedMatrix packed = pack(testing::random_quantized(format.scheme, 17, 65, GetParam()));
  packed.bytes.view.bytes = packed.bytes.view.bytes.first(packed.bytes.view.bytes.size() - 1);
  EXPECT_THROW(format.family->check(packed, "w"), Error);
  EXPECT_THROW(unpack(packed), Error);
  EXPECT_THROW(open_packed(format, 17, 66 + 64, packed.bytes, "w"), Error);
  EXPECT_THROW(open_packed(format, 0, 65, packed.bytes, "w"), Error);
  EXPECT_THROW(open_packed(format, -1, 65, packed.bytes, "w"), Error);
  EXPECT_THROW(open_packed(format, int64_t{1} << 62, int64_t{1} << 62, packed.bytes, "w"), Error);
  EXPECT_THROW(open_packed(format, int64_t{1} << 40, int64_t{1} << 40, packed.bytes, "w"), Error);
}

class DenseFormat : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, DenseFormat, ::testing::ValuesIn(names(true)), test_name);

TEST_P(DenseFormat, RowsAreTheStoredNumbers) {
  const Format format = parse_format(GetParam());
  EXPECT_TRUE(format.is_dense());
  const int64_t rows = 5, cols = 37;
  std::vector<float> weight = testing::normal_numbers(rows * cols, 0.1, GetParam());
  for (float& w : weight) {
    if (format.dtype == DType::kF16) w = round_to_float16(w);
    if (format.dtype == DType::kBF16) w = to_float(to_bfloat16(w));
  }
  const PackedMatrix packed = pack_dense(format, {weight.data(), rows, cols});
  EXPECT_EQ(bits_per_weight(packed), 8.0 * static_cast<double>(dtype_info(format.dtype).bytes));
  std::vector<float> decoded(weight.size());
  make_row_source(packed)->decode_rows(0, rows, decoded.data(), cols);
  EXPECT_EQ(decoded, weight);
  EXPECT_THROW(unpack(packed), Error);
}

TEST(ParseFormat, RefusesWhatIsNoName) {
  for (std::string_view name : {"",
                                "r16",
                                "r16-",
                                "r16-u",
                                "r16-u1",
                                "r16-u9",
                                "r16-u04",
                                "r16-u4-",
                                "r16-u4-g",
                                "r16-u4-g0",
                                "r16-u4-g032",
                                "r16-u4-m1",
                                "r16-u4w",
                                "r16-x4",
                                "r16-rt3-m",
                                "r16-rt3w",
                                "r16-t4x",
                                "r16-tr5",
                                "r16-tr0",
                                "r16-tr4s",
                                "r16-tr2w",
                                "r16-tr2-m",
                                "r16-tr2-g32",
                                "r16-u4-g99999999999999999999",
                                "r16-u4-g128 ",
                                "F16",
                                "f8"}) {
    EXPECT_THROW(parse_format(name), Error) << name;
  }
}

}  // namespace
}  // namespace twofold

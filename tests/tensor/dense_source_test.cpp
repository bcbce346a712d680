#include "tensor/dense_source.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/float16.h"
#include "tensor/random_matrix.h"

namespace twofold {
namespace {

class Sources : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, Sources, testing::ValuesIn(usable_isas()),
                         [](const auto& row) { return std::string(isa_name(row.param)); });

TEST_P(Sources, TransposedRowsAreTheStoredColumns) {
  const RandomMatrix stored(21, 50, 3, 1);
  const TransposedSource source(stored.view, GetParam());
  ASSERT_EQ(source.rows(), 50);
  ASSERT_EQ(source.cols(), 21);
  for (const int64_t count : {1, 16, 17, 33}) {
    RandomMatrix out(count, 21, 2, 9);
    source.decode_rows(5, count, out.view.data, out.view.stride);
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t c = 0; c < 21; ++c) ASSERT_EQ(out.view.at(r, c), stored.view.at(c, 5 + r));
    }
    EXPECT_TRUE(out.gaps_untouched());
  }
}

TEST_P(Sources, SixteenBitRowsAreWidened) {
  std::vector<uint16_t> bits;
  for (uint16_t i = 0; i < 3 * 37; ++i) bits.push_back(static_cast<uint16_t>(0x3000u + 5u * i));
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const auto value = [&](int64_t i) {
      const uint16_t b = bits[static_cast<size_t>(i)];
      return dtype == DType::kF16 ? to_float(Float16{b}) : to_float(BFloat16{b});
    };
    const Tensor tensor{{dtype, {3, 37}, std::as_bytes(std::span(bits))}, nullptr};
    RandomMatrix rows(2, 37, 1, 1), columns(20, 3, 1, 1);
    DenseSource(tensor, GetParam()).decode_rows(1, 2, rows.view.data, rows.view.stride);
    for (int64_t i = 0; i < 2 * 37; ++i) ASSERT_EQ(rows.view.at(i / 37, i % 37), value(37 + i));
    const TransposedSource transposed(tensor, GetParam());
    transposed.decode_rows(4, 20, columns.view.data, columns.view.stride);
    for (int64_t i = 0; i < 60; ++i) {
      ASSERT_EQ(columns.view.at(i / 3, i % 3), value(i % 3 * 37 + 4 + i / 3));
    }
    EXPECT_TRUE(rows.gaps_untouched());
    EXPECT_TRUE(columns.gaps_untouched());
  }
}

TEST(DenseSource, RefusesTensorsThatAreNoWeights) {
  alignas(4) std::byte bytes[64] = {};
  const auto refused = [&](DType dtype, Shape shape, size_t begin, size_t count) {
    try {
      const Tensor tensor{{dtype, shape, std::span(bytes).subspan(begin, count)}, nullptr};
      const DenseSource source(tensor, Isa::kScalar, "blk.0.w");
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument &&
             std::string(error.what()).rfind("blk.0.w: ", 0) == 0;
    }
    return false;
  };
  EXPECT_FALSE(refused(DType::kF32, {2, 4}, 0, 32));
  EXPECT_TRUE(refused(DType::kF32, {8}, 0, 32)) << "one side";
  EXPECT_TRUE(refused(DType::kF64, {2, 2}, 0, 32)) << "type";
  EXPECT_TRUE(refused(DType::kF32, {2, 4}, 0, 28)) << "too short";
  EXPECT_TRUE(refused(DType::kF16, {2, 4}, 0, 32)) << "too long";
  EXPECT_TRUE(refused(DType::kF32, {2, 4}, 2, 32)) << "not aligned";
}

}  // namespace
}  // namespace twofold

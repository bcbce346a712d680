#include "base/json.h"

#include <gtest/gtest.h>

#include "base/checked_math.h"

namespace twofold {
namespace {

ErrorCode code_of(const std::string& text) {
  try {
    parse_json(text, "test.json");
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).rfind("test.json: ", 0), 0u) << e.what();
    return e.code();
  }
  return ErrorCode::kInternal;
}

TEST(Json, BadTextIsACorruptFile) {
  EXPECT_EQ(code_of("{"), ErrorCode::kCorruptFile);
  EXPECT_EQ(code_of("{} x"), ErrorCode::kCorruptFile);
  EXPECT_EQ(code_of("\"\xff\""), ErrorCode::kCorruptFile);
  EXPECT_EQ(code_of("{\"a\": 1e999}"), ErrorCode::kCorruptFile);
}

TEST(Json, DeepNestingIsRefused) {
  EXPECT_EQ(code_of(std::string(10000, '[')), ErrorCode::kCorruptFile);
  EXPECT_EQ(code_of(std::string(10000, '[') + std::string(10000, ']')), ErrorCode::kCorruptFile);
  EXPECT_NO_THROW(parse_json(std::string(200, '[') + std::string(200, ']'), "x"));
}

TEST(CheckedMath, OverflowIsACorruptFile) {
  EXPECT_EQ(checked_mul<int64_t>(1 << 20, 1 << 20, "x"), int64_t{1} << 40);
  EXPECT_THROW(checked_mul<int64_t>(int64_t{1} << 40, int64_t{1} << 40, "x"), Error);
  EXPECT_THROW(checked_add<uint64_t>(UINT64_MAX, 1, "x"), Error);
  EXPECT_THROW((checked_cast<int32_t>(int64_t{1} << 40, "x")), Error);
}

}  // namespace
}  // namespace twofold

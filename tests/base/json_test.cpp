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

TEST(Json, MessagesSayWhereAndWhatButNoNamesOfTheParser) {
  try {
    parse_json("{\n  1", "x.json");
    FAIL();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with("x.json: not valid JSON: ")) << message;
    EXPECT_NE(message.find("line 2"), std::string::npos) << message;
    EXPECT_EQ(message.find("exception"), std::string::npos) << message;
  }
}

TEST(Json, DeepNestingIsRefused) {
  EXPECT_EQ(code_of(std::string(10000, '[')), ErrorCode::kCorruptFile);
  EXPECT_EQ(code_of(std::string(10000, '[') + std::string(10000, ']')), ErrorCode::kCorruptFile);
  EXPECT_NO_THROW(parse_json(std::string(200, '[') + std::string(200, ']'), "x"));
}

TEST(Json, OfARepeatedKeyTheLastWins) {
  EXPECT_EQ(parse_json(R"({"a": 1, "a": 2})", "x"), Json({{"a", 2}}));
}

TEST(Json, RepeatedKeysAreNamedWithTheirPlaceIfTheyAreRefused) {
  const auto parse = [](std::string_view text) {
    return parse_json(text, "f", RepeatedKeys::kRefused);
  };
  for (const auto& [text, said] : std::vector<std::pair<std::string, std::string>>{
           {R"({"a": 1, "b": {"a": 2}, "a": 3})", "f: key 'a' is given twice"},
           {R"({"a": 1, "\u0061": 3})", "f: key 'a' is given twice"},
           {R"({"a": [1, "x", [2], {"b": 1, "c": {}, "b": 2}]})",
            "f: a: element 4: key 'b' is given twice"},
           {R"([[{}, {"d": {"e": {"f": 1, "f": 1}}}]])",
            "f: element 1: element 2: d: e: key 'f' is given twice"}}) {
    try {
      parse(text);
      ADD_FAILURE() << "expected an error for " << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kCorruptFile);
      EXPECT_EQ(e.what(), said);
    }
  }
  const std::string once = R"({"a": {"a": 1, "b": 2}, "b": [{"a": 1}, {"a": 1}, [], 3]})";
  EXPECT_EQ(parse(once), parse_json(once, "f"));
}

TEST(CheckedMath, OverflowIsACorruptFile) {
  EXPECT_EQ(checked_mul<int64_t>(1 << 20, 1 << 20, "x"), int64_t{1} << 40);
  EXPECT_THROW(checked_mul<int64_t>(int64_t{1} << 40, int64_t{1} << 40, "x"), Error);
  EXPECT_THROW(checked_add<uint64_t>(UINT64_MAX, 1, "x"), Error);
  EXPECT_THROW((checked_cast<int32_t>(int64_t{1} << 40, "x")), Error);
}

}  // namespace
}  // namespace twofold

#include "pipeline/name_pattern.h"

#include <string>

#include "pipeline/support.h"

namespace twofold {
namespace {

using testing::error_of;

TEST(NamePattern, IsFoundAnywhereUnlessAnchored) {
  const std::string name = "model.layers.10.mlp.down_proj.weight";
  EXPECT_TRUE(NamePattern("down_proj").found_in(name));
  EXPECT_TRUE(NamePattern("layers\\.(9|10)\\.").found_in(name));
  EXPECT_TRUE(NamePattern("^model.*weight$").found_in(name));
  EXPECT_FALSE(NamePattern("^down_proj").found_in(name));
  EXPECT_FALSE(NamePattern("Down_proj").found_in(name));
  EXPECT_FALSE(NamePattern("layers\\.1\\.").found_in(name));
}

TEST(NamePattern, RefusesBadSyntaxAndLongPatterns) {
  for (const std::string bad : {"(", "[a", "*a", "a{2,1}", "(?<n>a", "\\"}) {
    const std::string message =
        error_of([&] { NamePattern pattern(bad); }, ErrorCode::kInvalidArgument);
    EXPECT_NE(message.find(bad), std::string::npos) << message;
  }
  const std::string longest(NamePattern::kMaxLength, 'a');
  EXPECT_FALSE(NamePattern(longest).found_in("a"));
  error_of([&] { NamePattern pattern(longest + "a"); }, ErrorCode::kInvalidArgument);
}

TEST(NamePattern, StopsWhereBacktrackingWouldNotEnd) {
  const NamePattern pattern("(a+a+)+[xy]$");
  error_of([&] { pattern.found_in(std::string(200, 'a') + "b"); }, ErrorCode::kInvalidArgument);
}

TEST(NamePattern, BoundsNestingAndRepetition) {
  const std::string nested = std::string(120, '(') + "a" + std::string(120, ')');
  EXPECT_TRUE(NamePattern(nested).found_in("a"));
  const NamePattern long_subject("^(.|\\n)*$");
  EXPECT_NO_THROW(long_subject.found_in(std::string(5000, 'a')));
}

}  // namespace
}  // namespace twofold

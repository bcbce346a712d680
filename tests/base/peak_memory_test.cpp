#include "base/peak_memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace twofold {
namespace {

TEST(PeakMemory, TellsThePeakSinceTheLastReset) {
  constexpr int64_t kBlock = int64_t{96} << 20, kSlack = int64_t{24} << 20;
  if (!reset_peak_memory()) GTEST_SKIP() << "/proc/self/clear_refs cannot be written here";
  const int64_t before = peak_memory_bytes().value();
  {
    std::vector<char> block(static_cast<size_t>(kBlock));
    std::memset(block.data(), 1, block.size());
    EXPECT_EQ(block[block.size() / 2], 1);
  }
  EXPECT_NEAR(static_cast<double>(peak_memory_bytes().value() - before),
              static_cast<double>(kBlock), static_cast<double>(kSlack));
  ASSERT_TRUE(reset_peak_memory());
  EXPECT_NEAR(static_cast<double>(peak_memory_bytes().value()), static_cast<double>(before),
              static_cast<double>(kSlack));
}

}  // namespace
}  // namespace twofold

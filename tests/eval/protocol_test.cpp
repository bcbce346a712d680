// How protocols cut texts, by cases made by hand.
#include "eval/protocol.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace twofold {
namespace {

using Ids = std::vector<int32_t>;

Ids counting(int32_t first, int64_t count) {
  Ids ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

std::vector<ScoreWindow> cut(std::string_view protocol, const Ids& ids, int64_t window,
                             int32_t bos = -1) {
  const ModelConfig config;
  return find_protocol(protocol).cut(ids, window, {.config = config, .bos_id = bos});
}

void expect_window(const ScoreWindow& window, const Ids& ids, int64_t first, const Ids& targets) {
  EXPECT_EQ(window.ids, ids);
  EXPECT_EQ(window.first, first);
  EXPECT_EQ(window.targets, targets);
}

TEST(Protocols, AreFoundByTheirNames) {
  for (const Protocol& protocol : all_protocols()) {
    EXPECT_EQ(&find_protocol(protocol.name), &protocol);
    EXPECT_FALSE(protocol.help.empty()) << protocol.name;
  }
}

TEST(Protocols, UnknownNameIsRefusedWithAllNames) {
  try {
    find_protocol("gptq-2047");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    for (const Protocol& protocol : all_protocols()) {
      EXPECT_NE(std::string_view(error.what()).find(protocol.name), std::string_view::npos);
    }
  }
}

TEST(Protocols, GptqScoresAllButTheFirstTokenOfEachWindowAndDropsTheRest) {
  const auto windows = cut("gptq-2048", counting(10, 11), 4, 1);
  ASSERT_EQ(windows.size(), 2u);
  expect_window(windows[0], {10, 11, 12}, 0, {11, 12, 13});
  expect_window(windows[1], {14, 15, 16}, 0, {15, 16, 17});
}

TEST(Protocols, GptqOf2048Has2047TargetsAWindow) {
  const auto windows = cut("gptq-2048", counting(0, 5000), 2048);
  ASSERT_EQ(windows.size(), 2u);
  EXPECT_EQ(windows[1].targets.size(), 2047u);
  EXPECT_EQ(windows[1].targets.front(), 2049);
}

TEST(Protocols, LlamaCppScoresTheSecondHalfAndPutsBosFirst) {
  const auto windows = cut("llama.cpp-512", counting(10, 17), 8, 1);
  ASSERT_EQ(windows.size(), 2u);
  expect_window(windows[0], {1, 11, 12, 13, 14, 15, 16}, 4, {15, 16, 17});
  expect_window(windows[1], {1, 19, 20, 21, 22, 23, 24}, 4, {23, 24, 25});
}

TEST(Protocols, LlamaCppKeepsTheFirstTokenWithoutBos) {
  const auto windows = cut("llama.cpp-512", counting(10, 8), 8);
  ASSERT_EQ(windows.size(), 1u);
  EXPECT_EQ(windows[0].ids.front(), 10);
}

TEST(Protocols, LlamaCppOf512ScoresTheLast255Targets) {
  const auto windows = cut("llama.cpp-512", counting(0, 512), 512);
  ASSERT_EQ(windows.size(), 1u);
  EXPECT_EQ(windows[0].targets.size(), 255u);
  EXPECT_EQ(windows[0].targets.back(), 511);
}

TEST(Protocols, NanogptReachesOneTokenBeyondTheWindow) {
  const auto windows = cut("nanogpt-full", counting(10, 9), 4);
  ASSERT_EQ(windows.size(), 2u);
  expect_window(windows[0], {10, 11, 12, 13}, 0, {11, 12, 13, 14});
  expect_window(windows[1], {14, 15, 16, 17}, 0, {15, 16, 17, 18});
  EXPECT_EQ(cut("nanogpt-full", counting(10, 8), 4).size(), 1u) << "the last target is missing";
}

TEST(Protocols, NanogptLastScoresOnlyTheLastPositionOfTheSameWindows) {
  const auto windows = cut("nanogpt-last", counting(10, 9), 4);
  ASSERT_EQ(windows.size(), 2u);
  expect_window(windows[0], {10, 11, 12, 13}, 3, {14});
  expect_window(windows[1], {14, 15, 16, 17}, 3, {18});
}

TEST(Protocols, SequencesAreScoredWhole) {
  const auto windows = cut("sequences", {5, 6, 7}, 64);
  ASSERT_EQ(windows.size(), 1u);
  expect_window(windows[0], {5, 6}, 0, {6, 7});
}

TEST(Protocols, SequenceMayReachOneTargetBeyondTheContext) {
  EXPECT_EQ(cut("sequences", counting(0, 5), 4).size(), 1u);
  EXPECT_THROW(cut("sequences", counting(0, 6), 4), Error);
}

TEST(Protocols, EveryOneRefusesATextShorterThanItsWindow) {
  for (const Protocol& protocol : all_protocols()) {
    const int64_t window = protocol.needs_text ? 8 : 64;
    const Ids ids = counting(0, protocol.needs_text ? 7 : 1);
    EXPECT_THROW(cut(protocol.name, ids, window), Error) << protocol.name;
  }
}

TEST(Protocols, EveryTargetIsTheTokenAfterItsPosition) {
  const Ids ids = counting(100, 200);
  for (const Protocol& protocol : all_protocols()) {
    for (const ScoreWindow& window : cut(protocol.name, ids, protocol.needs_text ? 16 : 200)) {
      ASSERT_LE(window.first + std::ssize(window.targets), std::ssize(window.ids));
      for (int64_t i = 0; i < std::ssize(window.targets); ++i) {
        EXPECT_EQ(window.targets[i], window.ids[window.first + i] + 1) << protocol.name;
      }
    }
  }
}

}  // namespace
}  // namespace twofold

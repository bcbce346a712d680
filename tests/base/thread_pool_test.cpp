#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace twofold {
namespace {

TEST(ThreadPool, RunsEveryItemOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    std::vector<std::atomic<int>> seen(1000);
    for (int round = 0; round < 20; ++round) {
      pool.run(1000, [&](int64_t i, int worker) {
        EXPECT_LT(worker, threads);
        ++seen[static_cast<size_t>(i)];
      });
    }
    for (const auto& count : seen) EXPECT_EQ(count, 20);
  }
}

TEST(ThreadPool, StaticRangesCoverAllItemsInOrder) {
  ThreadPool pool(3);
  std::vector<int> owner(10, -1);
  pool.run_static(10, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) owner[static_cast<size_t>(i)] = worker;
  });
  EXPECT_EQ(owner, (std::vector<int>{0, 0, 0, 1, 1, 1, 2, 2, 2, 2}));
}

TEST(ThreadPool, RethrowsTheFirstErrorAndStaysUsable) {
  ThreadPool pool(2);
  EXPECT_THROW(pool.run(100,
                        [](int64_t i, int) {
                          if (i == 37) throw std::runtime_error("item 37");
                        }),
               std::runtime_error);
  std::atomic<int> count{0};
  pool.run(50, [&](int64_t, int) { ++count; });
  EXPECT_EQ(count, 50);
}

TEST(ThreadPool, WakesSleepingWorkers) {
  ThreadPool pool(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::atomic<int> count{0};
    pool.run(8, [&](int64_t, int) { ++count; });
    EXPECT_EQ(count, 8);
  }
}

}  // namespace
}  // namespace twofold

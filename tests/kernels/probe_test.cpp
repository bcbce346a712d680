// Probes give positive figures at every level of this CPU, for one thread and more.
#include "kernels/probe.h"

#include <gtest/gtest.h>

namespace twofold {
namespace {

TEST(Probe, EveryLevelComputesAndReads) {
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    for (const Isa isa : all_isas()) {
      if (!cpu_has(isa)) continue;
      const Context ctx{.pool = pool, .isa = isa};
      const ComputePeaks peaks = measure_peaks(ctx, 0.01);
      // No machine is below 10 million or above 10^18 a second.
      for (const Peak& peak : {peaks.integer, peaks.floating}) {
        EXPECT_GT(peak.operations_per_second, 1e7) << isa_name(isa) << " " << peak.instruction;
        EXPECT_LT(peak.operations_per_second, 1e18) << isa_name(isa) << " " << peak.instruction;
      }
      const std::vector<double> passes = measure_read_bandwidth(ctx, 0);
      EXPECT_GE(passes.size(), 3u);
      for (const double pass : passes) {
        EXPECT_GT(pass, 1e7) << isa_name(isa);
        EXPECT_LT(pass, 1e14) << isa_name(isa);
      }
    }
  }
}

TEST(Probe, StopsWhenCancelled) {
  ThreadPool pool(1);
  const std::atomic<bool> cancel{true};
  const Context ctx{.pool = pool, .cancel = &cancel};
  EXPECT_THROW(measure_peaks(ctx, 0.01), Error);
  EXPECT_THROW(measure_read_bandwidth(ctx, 0), Error);
}

TEST(Probe, MedianIsTheMiddle) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(median({7}), 7);
}

}  // namespace
}  // namespace twofold

// Machine probes: what a CPU reads and computes at most, measured. Kernels are judged by their
// share of these figures.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/context.h"

namespace twofold {

/// Operations per second of all threads of a pool together; a multiplication and an addition count
/// as two.
struct Peak {
  std::string_view instruction;
  double operations_per_second = 0;
};
struct ComputePeaks {
  Peak integer, floating;
};

/// Runs the best instructions of ctx.isa on registers, on all threads of the pool: the best of
/// several runs of about `seconds` in all, for each of the two. @throws Error(kCancelled)
ComputePeaks measure_peaks(const Context& ctx, double seconds = 0.2);

/// Bytes per second of several passes over a buffer larger than the last-level cache, each thread
/// reading one contiguous part: one number per pass, at least three, for about `seconds` besides
/// the time of making the buffer, which is freed before this returns.
/// @throws Error(kCancelled), std::bad_alloc
std::vector<double> measure_read_bandwidth(const Context& ctx, double seconds = 0.3);

/// The middle value; the mean of the two in the middle of an even number. `values` is not empty.
double median(std::vector<double> values);

}  // namespace twofold

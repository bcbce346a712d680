// Speed of the float GEMM beside what the processor can do at most: a loop of fused
// multiply-additions that touches no memory, timed between the products of the same run.
// Usage: bench_gemm [threads] [rounds]. Prints medians.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu.h"
#include "base/float16.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "tensor/dense_source.h"
#include "tensor/gemm.h"

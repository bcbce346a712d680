// Speed of the float products: GFLOP/s of matmul for batches, beside a loop of fused
// multiply-additions that touches no memory, and GB/s of weights read for a single row.
// Usage: bench_gemm [threads]. Prints medians; rounds of all variants alternate.
#include <fmt/format.h>

#include <cstdlib>
#include <span>
#include <vector>

#include "base/cpu.h"
#include "base/float16.h"
#include "base/thread_pool.h"
#include "measure.h"
#include "tensor/dense_source.h"
#include "tensor/gemm.h"

namespace twofold {
namespace {

constexpr int kRounds = 11;

void bench_shape(ThreadPool& pool, Isa isa, int64_t rows, int64_t cols, int64_t depth) {
  std::vector<float> x(static_cast<size_t>(rows * depth)), y(static_cast<size_t>(rows * cols));
  std::vector<uint16_t> weight(static_cast<size_t>(cols * depth));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 101) * 0.01f;
  for (size_t i = 0; i < weight.size(); ++i) {
    weight[i] = to_float16(static_cast<float>(i % 97) * 0.01f).bits;
  }
  const Tensor tensor{{DType::kF16, {cols, depth}, std::as_bytes(std::span(weight))}, nullptr};
  const DenseSource source(tensor, isa);
  std::vector<double> peaks, products, single;
  for (int round = 0; round < kRounds; ++round) {
    peaks.push_back(peak(pool, isa));
    const double time = seconds([&] {
      matmul({x.data(), rows, depth}, source, {y.data(), rows, cols}, pool, isa);
    });
    products.push_back(2e-9 * static_cast<double>(rows * cols * depth) / time);
    const double one = seconds([&] {
      matmul({x.data(), 1, depth}, source, {y.data(), 1, cols}, pool, isa);
    });
    single.push_back(2e-9 * static_cast<double>(cols * depth) / one);
  }
  fmt::print("{:8} {:6} x {:5} x {:5}  {:7.1f} GFLOP/s of {:7.1f}   one row {:6.1f} GB/s\n",
             isa_name(isa), rows, cols, depth, median(products), median(peaks), median(single));
}

}  // namespace
}  // namespace twofold

int main(int argc, char** argv) {
  using namespace twofold;
  ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  fmt::print("{}, {} threads, weights F16\n", cpu_name(), pool.size());
  for (const Isa isa : all_isas()) {
    if (!cpu_has(isa) || isa == Isa::kScalar) continue;
    bench_shape(pool, isa, 2048, 576, 576);
    bench_shape(pool, isa, 2048, 1536, 576);
    bench_shape(pool, isa, 2048, 576, 1536);
    bench_shape(pool, isa, 2048, 2048, 2048);
  }
  return 0;
}

// Speed of second moments: GFLOP/s of add_gram (n (n + 1) operations per token: the lower triangle
// is not computed), beside the loop without memory and the full product of the float GEMM. Usage:
// bench_gram [threads]. Prints medians; rounds of all variants alternate.
#include <fmt/format.h>

#include <cstdlib>
#include <vector>

#include "measure.h"
#include "tensor/dense_source.h"
#include "tensor/gemm.h"
#include "tensor/gram.h"

namespace twofold {
namespace {

constexpr int kRounds = 11;

void bench_shape(ThreadPool& pool, Isa isa, int64_t tokens, int64_t cols) {
  std::vector<float> x(static_cast<size_t>(tokens * cols)), y(static_cast<size_t>(cols * cols));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 101) * 0.01f;
  std::vector<double> sum(y.size());
  const Matrix<const float> rows(x.data(), tokens, cols);
  // The same number of products as a matrix [cols, tokens] times its transpose.
  const Matrix<const float> left(x.data(), cols, tokens);
  const DenseSource right(left, isa);
  std::vector<double> peaks, grams, products;
  const double n = static_cast<double>(cols), t = static_cast<double>(tokens);
  for (int round = 0; round < kRounds; ++round) {
    peaks.push_back(peak(pool, isa));
    grams.push_back(1e-9 * n * (n + 1) * t / seconds([&] {
                      add_gram(rows, {sum.data(), cols, cols}, pool, isa);
                    }));
    products.push_back(2e-9 * n * n * t / seconds([&] {
                         matmul(left, right, {y.data(), cols, cols}, pool, isa);
                       }));
  }
  fmt::print(
      "{:8} {:6} tokens x {:5}  {:7.1f} GFLOP/s = {:.2f} of {:7.1f}   full product {:7.1f}\n",
      isa_name(isa), tokens, cols, median(grams), median(grams) / median(peaks), median(peaks),
      median(products));
}

}  // namespace
}  // namespace twofold

int main(int argc, char** argv) {
  using namespace twofold;
  ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  fmt::print("{}, {} threads\n", cpu_name(), pool.size());
  for (const Isa isa : all_isas()) {
    if (!cpu_has(isa) || isa == Isa::kScalar) continue;
    for (const int64_t cols : {192, 576, 1536, 4096}) bench_shape(pool, isa, 2048, cols);
  }
  return 0;
}

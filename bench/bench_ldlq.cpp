// Speed of 3-bit LDLQ, without and with re-exploring: the matrix whose factor is ready, from its
// weights to its codes and its loss. Usage: bench_ldlq [threads]. Prints medians of processor time
// (of all threads) and the share of a loop of fused multiply-additions without memory that the
// feedback products are: rows cols^2 operations for each grid tried. Rounds of all variants
// alternate.
#include <fmt/format.h>

#include <cstdlib>
#include <ctime>
#include <random>
#include <vector>

#include "measure.h"
#include "quant/method.h"

namespace twofold {
namespace {

constexpr int kRounds = 5;

double processor_seconds(const std::function<void()>& work) {
  const auto now = [] {
    timespec t = {};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  const double begin = now();
  work();
  return now() - begin;
}

/// A moment of `cols` inputs, correlated by a few factors.
SecondMoment random_moment(int64_t cols, std::mt19937& random) {
  constexpr int kFactors = 8;
  std::normal_distribution<double> normal;
  SecondMoment moment{.cols = cols, .tokens = 1, .h = {}, .mean_magnitude = {}};
  moment.h.assign(static_cast<size_t>(cols * cols), 0.0);
  for (int64_t j = 0; j < cols; ++j) moment.h[static_cast<size_t>(j * cols + j)] = 1;
  std::vector<double> factor(static_cast<size_t>(cols));
  for (int f = 0; f < kFactors; ++f) {
    for (double& x : factor) x = normal(random);
    for (int64_t i = 0; i < cols; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        moment.h[static_cast<size_t>(i * cols + j)] +=
            factor[static_cast<size_t>(i)] * factor[static_cast<size_t>(j)];
      }
    }
  }
  return moment;
}

void bench_shape(const Context& ctx, int64_t rows, int64_t cols) {
  std::mt19937 random(1);
  const SecondMoment moment = random_moment(cols, random);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> numbers(static_cast<size_t>(rows * cols));
  for (float& number : numbers) number = normal(random);
  const Matrix<const float> weight(numbers.data(), rows, cols);

  struct Variant {
    MethodChoice choice;
    std::shared_ptr<const PreparedInput> input;
    int grids;
    std::vector<double> seconds;
  };
  std::vector<Variant> variants;
  const auto solve_once = [&](const Variant& v) {
    solve(v.choice, *v.input, {.weight = weight, .moment = &moment}, ctx);
  };
  for (const auto& [explore, grids] : {std::pair("off", 1), std::pair("loop", 7)}) {
    Variant v{
        .choice = choose_method({.method = "gptq", .bits = 3, .params = {{"explore", explore}}}),
        .input = nullptr,
        .grids = grids,
        .seconds = {}};
    v.input = prepare_input(v.choice, {.moment = &moment, .weights = {weight}}, ctx);
    solve_once(v);  // makes the factor
    variants.push_back(std::move(v));
  }
  std::vector<double> peaks;
  ThreadPool one(1);
  for (int round = 0; round < kRounds; ++round) {
    peaks.push_back(peak(one, ctx.isa) / 2);  // float64: half as many in a register
    for (Variant& v : variants) v.seconds.push_back(processor_seconds([&] { solve_once(v); }));
  }
  const double operations = 1e-9 * static_cast<double>(rows * cols * cols);
  for (const Variant& v : variants) {
    const double time = median(v.seconds);
    fmt::print("{:5} x {:5}  {} grids: {:7.3f} s, {:.2f} of {:.0f} GFLOP/s\n", rows, cols, v.grids,
               time, operations * v.grids / time / median(peaks), median(peaks));
  }
}

}  // namespace
}  // namespace twofold

int main(int argc, char** argv) {
  using namespace twofold;
  ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  const Context ctx{.pool = pool, .isa = select_isa()};
  fmt::print("{}, {} threads, {}\n", cpu_name(), pool.size(), isa_name(ctx.isa));
  bench_shape(ctx, 576, 1536);
  bench_shape(ctx, 2048, 2048);
  return 0;
}

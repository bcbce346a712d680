// Speed of the integer kernels, each instruction set beside the one below it: GB/s of packed bytes
// for one and four rows of activations (weights larger than the caches), and operations per second
// for 512 rows. Usage: bench_kernels [threads] [format ...]. Rounds of all kernels alternate.
// Exit status 1 if a kernel that would be chosen is slower than one of a lower instruction set.
#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <numeric>

#include "kernels/int8_activations.h"
#include "kernels/packed_view.h"
#include "kernels/select.h"
#include "measure.h"

namespace twofold {
namespace {

constexpr int kRounds = 5;
constexpr double kTolerance = 0.9;  // of the speed of the level below: noise of a shared machine

/// A matrix of `format` with any codes and ordinary parameters.
PackedMatrix any_matrix(const Format& format, int64_t rows, int64_t cols) {
  QuantizedMatrix q;
  q.scheme = format.scheme;
  q.rows = rows;
  q.cols = cols;
  q.codes.resize(static_cast<size_t>(rows * cols));
  const uint32_t mask = (1u << q.scheme.bits) - 1;
  uint32_t state = 1;
  for (uint16_t& code : q.codes) {
    state = state * 1664525u + 1013904223u;
    code = static_cast<uint16_t>(state >> 16 & mask);
  }
  const auto sets = static_cast<size_t>(q.parameter_sets(q.scheme.scale_sharing));
  q.scale.assign(sets, 0.0078125f);
  if (q.scheme.kind == ValueKind::kAffine) {
    if (zero_is_stored(q.scheme.zero)) q.zero.assign(sets, 1);
    return pack(q);
  }
  if (q.scheme.has_offset) q.offset.assign(sets, 0.0625f);
  const int64_t tables = q.parameter_sets(q.scheme.table_sharing);
  for (int64_t t = 0; t < tables; ++t) {
    for (uint32_t code = 0; code <= mask; ++code) {
      float level = static_cast<float>(code) - static_cast<float>(mask / 2 + 1);
      if (q.scheme.planes) {  // integers 1, 2, 4, ...
        level = static_cast<float>(2 * static_cast<int>(code) - static_cast<int>(mask));
      }
      q.levels.push_back(level);
    }
  }
  return pack(q);
}

void run(const Kernel& kernel, const PackedView& view, Int8Activations& x, std::vector<float>& y,
         ThreadPool& pool) {
  const MatmulArgs args = {.weights = &view,
                           .x = x.cut(view.group),
                           .m = x.rows(),
                           .y = y.data(),
                           .y_stride = view.rows};
  const auto part = [&](int64_t begin, int64_t end, uint8_t* scratch) {
    MatmulArgs mine = args;
    mine.block_begin = begin;
    mine.block_end = end;
    mine.scratch = scratch;
    kernel.run(mine);
  };
  if (kernel.scratch_bytes == nullptr) {
    pool.run_static(view.blocks,
                    [&](int64_t begin, int64_t end, int) { part(begin, end, nullptr); });
    return;
  }
  const auto bytes = static_cast<size_t>(kernel.scratch_bytes(view, x.rows()));
  std::vector<AlignedBuffer<uint8_t>> scratch(static_cast<size_t>(pool.size()));
  for (auto& buffer : scratch) buffer.ensure(bytes);
  pool.run((view.blocks + 1) / 2, [&](int64_t item, int worker) {
    part(item * 2, std::min(item * 2 + 2, view.blocks),
         scratch[static_cast<size_t>(worker)].data());
  });
}

struct Case {
  int64_t m, rows, cols;
};
constexpr Case kCases[] = {{1, 8192, 8192}, {4, 8192, 8192}, {16, 4096, 2048}, {512, 2048, 2048}};

/// @return false if a better instruction set is slower.
bool bench_format(const std::string& name, ThreadPool& pool) {
  const Format format = parse_format(name);
  bool fine = true;
  for (const Case& shape : kCases) {
    const PackedMatrix packed = any_matrix(format, shape.rows, shape.cols);
    const PackedView view = packed_view(packed);
    std::vector<float> x(static_cast<size_t>(shape.m * shape.cols));
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 101) * 0.01f - 0.5f;
    std::vector<float> y(static_cast<size_t>(shape.m * shape.rows));
    Int8Activations rounded({x.data(), shape.m, shape.cols}, kActivationBlock, select_isa(), pool);
    std::vector<const Kernel*> kernels;
    for (const Isa isa : all_isas()) {
      if (!cpu_has(isa) || isa == Isa::kScalar) continue;
      const Kernel* kernel = best_kernel(kernels_of(format), shape.m, isa);
      if (kernel->isa == isa) kernels.push_back(kernel);
    }
    std::map<const Kernel*, std::vector<double>> times;
    for (int round = 0; round < kRounds; ++round) {
      for (const Kernel* kernel : kernels) {
        times[kernel].push_back(seconds([&] { run(*kernel, view, rounded, y, pool); }));
      }
    }
    double below = 0;
    for (const Kernel* kernel : kernels) {
      const double time = *std::min_element(times[kernel].begin(), times[kernel].end());
      const double bytes = static_cast<double>(packed.bytes.view.bytes.size());
      const double ops = 2.0 * static_cast<double>(shape.m * shape.rows * shape.cols);
      const bool slower = below > 0 && time * kTolerance > below;
      fmt::print("{:12} {:4} rows  {:28} {:7.1f} GB/s {:8.1f} Gop/s{}\n", name, shape.m,
                 kernel->name, bytes / time * 1e-9, ops / time * 1e-9,
                 slower ? "  slower than the level below" : "");
      if (slower) fine = false;
      below = time;
    }
  }
  return fine;
}

}  // namespace
}  // namespace twofold

int main(int argc, char** argv) {
  using namespace twofold;
  ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  fmt::print("{}, {} threads\n", cpu_name(), pool.size());
  std::vector<std::string> names(argv + std::min(argc, 2), argv + argc);
  if (names.empty()) {
    names = {"r16-u2-g128", "r16-u3-g128",  "r16-u4-g128", "r16-c2",  "r16-s8-g128",
             "r16-t3",      "r16-t4",       "r16-t5w",     "r16-rt2", "r16-rt3",
             "r16-rt4",     "r16-rt3-g128", "r16-b2",      "r16-b3",  "r16-b3-g128"};
  }
  bool fine = true;
  for (const std::string& name : names) fine = bench_format(name, pool) && fine;
  return fine ? 0 : 1;
}

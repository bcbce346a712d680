// Speed of the integer kernels, each instruction set beside the one below it: GB/s of packed bytes
// for one and four rows of activations, and its share of what the same threads read by summing
// floats (weights from memory, by turns from copies of the matrix that no cache holds together; and
// a small matrix from the cache, which shows what the instructions take); operations per second for
// 16 and 512 rows. Usage: bench_kernels [threads] [format ...]. Rounds of all kernels alternate.
// Exit status 1 if a kernel that would be chosen is slower than one of a lower instruction set.
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "kernels/int8_activations.h"
#include "kernels/packed_view.h"
#include "kernels/select.h"
#include "measure.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

constexpr int kRounds = 5;
constexpr int64_t kMemoryBytes = int64_t{384} << 20;  // of weights, so that none are in a cache
constexpr int64_t kCachedRuns = 200;                  // of a matrix that a cache holds
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
  if (q.scheme.kind == ValueKind::kTrellis) {
    const TrellisCode& trained = trained_trellis_code(q.scheme.bits, q.scheme.window);
    q.mixing = trained.mixing;
    q.levels.assign(trained.levels.begin(), trained.levels.end());
    link_symbols(q);
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

void run(const Kernel& kernel, const PackedView& view, Int8Activations& x, AlignedBuffer<float>& y,
         ThreadPool& pool, std::vector<AlignedBuffer<uint8_t>>& scratch) {
  const MatmulArgs args = {.weights = &view,
                           .x = x.cut(view.group),
                           .m = x.rows(),
                           .y = y.data(),
                           .y_stride = view.rows};
  const auto part = [&](int64_t begin, int64_t end, uint8_t* own) {
    MatmulArgs mine = args;
    mine.block_begin = begin;
    mine.block_end = end;
    mine.scratch = own;
    kernel.run(mine);
  };
  const size_t bytes = kernel.scratch_bytes == nullptr
                           ? 0
                           : static_cast<size_t>(kernel.scratch_bytes(view, x.rows()));
  scratch.resize(static_cast<size_t>(pool.size()));
  for (auto& buffer : scratch) buffer.ensure(bytes);
  if (bytes == 0 || kernel.contiguous) {
    pool.run_static(view.blocks, [&](int64_t begin, int64_t end, int worker) {
      part(begin, end, scratch[static_cast<size_t>(worker)].data());
    });
    return;
  }
  const int64_t each = blocks_per_item(kernel, view.blocks, pool.size());
  pool.run(ceil_div(view.blocks, each), [&](int64_t item, int worker) {
    part(item * each, std::min((item + 1) * each, view.blocks),
         scratch[static_cast<size_t>(worker)].data());
  });
}

struct Case {
  int64_t m, rows, cols;
  bool from_memory;
};
constexpr Case kCases[] = {{1, 8192, 2048, true},
                           {1, 512, 2048, false},
                           {4, 8192, 2048, true},
                           {16, 4096, 2048, false},
                           {512, 2048, 2048, false}};

/// Bytes per second that all threads read, each a range of its own.
double read_bandwidth(const AlignedBuffer<uint8_t>& bytes, ThreadPool& pool) {
  constexpr int64_t kChunk = int64_t{1} << 16;
  const Ops& op = ops(select_isa());
  const int64_t chunks = static_cast<int64_t>(bytes.size()) / kChunk;
  std::vector<float> sums(static_cast<size_t>(chunks));
  const double time = seconds([&] {
    pool.run_static(chunks, [&](int64_t begin, int64_t end, int) {
      for (int64_t c = begin; c < end; ++c) {
        const auto* x = reinterpret_cast<const float*>(bytes.data() + c * kChunk);
        sums[static_cast<size_t>(c)] = op.dot(x, x, kChunk / 4);
      }
    });
  });
  if (std::accumulate(sums.begin(), sums.end(), 0.0f) == 1.0f) return 0;  // uses them
  return static_cast<double>(chunks * kChunk) / time;
}

/// One matrix, in as many copies as a case needs.
class Weights {
 public:
  Weights(const Format& format, const Case& shape)
      : packed_(any_matrix(format, shape.rows, shape.cols)), view_(packed_view(packed_)) {
    bytes_ = static_cast<int64_t>(packed_.bytes.view.bytes.size());
    copies_ = shape.from_memory ? kMemoryBytes / bytes_ + 1 : 1;
    runs_ = shape.m == 1 && !shape.from_memory ? kCachedRuns : copies_;
    copy_bytes_ = round_up(bytes_, 4096);
    data_.ensure(static_cast<size_t>(copies_ * copy_bytes_));
    for (int64_t i = 0; i < copies_; ++i) {
      std::memcpy(data_.data() + i * copy_bytes_, packed_.bytes.view.bytes.data(),
                  static_cast<size_t>(bytes_));
    }
  }
  int64_t bytes() const { return bytes_; }
  /// Products to time at once, each with the next copy.
  int64_t runs() const { return runs_; }
  const AlignedBuffer<uint8_t>& data() const { return data_; }
  PackedView view(int64_t run) const {
    PackedView view = view_;
    view.blob = data_.data() + run % copies_ * copy_bytes_;
    return view;
  }

 private:
  PackedMatrix packed_;
  PackedView view_;
  int64_t bytes_ = 0, copies_ = 0, runs_ = 0, copy_bytes_ = 0;
  AlignedBuffer<uint8_t> data_;
};

/// The kernels that would be chosen for m rows, of each instruction set.
std::vector<const Kernel*> kernels_to_time(const Format& format, int64_t m) {
  std::vector<const Kernel*> kernels;
  for (const Isa isa : all_isas()) {
    if (!cpu_has(isa) || isa == Isa::kScalar) continue;
    const Kernel* kernel = best_kernel(kernels_of(format), m, isa);
    if (kernel->isa == isa) kernels.push_back(kernel);
  }
  return kernels;
}

/// @return false if a better instruction set is slower.
bool bench_case(const std::string& name, const Case& shape, ThreadPool& pool) {
  const Format format = parse_format(name);
  const Weights weights(format, shape);
  std::vector<float> x(static_cast<size_t>(shape.m * shape.cols));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 101) * 0.01f - 0.5f;
  AlignedBuffer<float> y(static_cast<size_t>(shape.m * shape.rows));
  Int8Activations rounded({x.data(), shape.m, shape.cols}, {kActivationBlock}, select_isa(), pool);
  const std::vector<const Kernel*> kernels = kernels_to_time(format, shape.m);
  std::map<const Kernel*, std::vector<double>> times;
  std::vector<AlignedBuffer<uint8_t>> scratch;
  double bandwidth = 0;
  for (int round = 0; round < kRounds; ++round) {
    if (shape.from_memory) bandwidth = std::max(bandwidth, read_bandwidth(weights.data(), pool));
    for (const Kernel* kernel : kernels) {
      times[kernel].push_back(seconds([&] {
        for (int64_t i = 0; i < weights.runs(); ++i) {
          run(*kernel, weights.view(i), rounded, y, pool, scratch);
        }
      }));
    }
  }
  bool fine = true;
  double below = 0;
  for (const Kernel* kernel : kernels) {
    const double time = *std::min_element(times[kernel].begin(), times[kernel].end()) /
                        static_cast<double>(weights.runs());
    const double speed = static_cast<double>(weights.bytes()) / time;
    const double ops = 2.0 * static_cast<double>(shape.m * shape.rows * shape.cols);
    const bool slower = below > 0 && time * kTolerance > below;
    const std::string share =
        shape.from_memory
            ? fmt::format("{:4.0f} % of {:.1f}", 100 * speed / bandwidth, bandwidth * 1e-9)
            : "";
    fmt::print("{:12} {:4} rows  {:28} {:8.1f} us {:6.1f} GB/s {:14} {:8.1f} Gop/s{}\n", name,
               shape.m, kernel->name, time * 1e6, speed * 1e-9, share, ops / time * 1e-9,
               slower ? "  slower than the level below" : "");
    if (slower) fine = false;
    below = time;
  }
  return fine;
}

bool bench_format(const std::string& name, ThreadPool& pool) {
  bool fine = true;
  for (const Case& shape : kCases) fine = bench_case(name, shape, pool) && fine;
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

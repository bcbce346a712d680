#include "kernels/probe.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>

#include "base/checked_math.h"
#include "kernels/probe_table.h"

namespace twofold {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

const ProbeTable& probe_table(Isa isa) {
#if defined(TWOFOLD_X86_KERNELS)
  switch (isa) {
    case Isa::kScalar:
      return kProbeScalar;
    case Isa::kAvx2:
      return kProbeAvx2;
    case Isa::kAvx512:
      return kProbeAvx512;
    case Isa::kAvx512Vnni:
      return kProbeAvx512Vnni;
    case Isa::kAmx:
      return kProbeAmx;
  }
#else
  static_cast<void>(isa);
#endif
  return kProbeScalar;
}

constexpr int kPeakRuns = 8;

double run_once(const PeakLoop& loop, int64_t rounds, ThreadPool& pool) {
  const Clock::time_point start = Clock::now();
  pool.run_static(pool.size(), [&](int64_t, int64_t, int) { loop.run(rounds); });
  return seconds_since(start);
}

Peak measure(const PeakLoop& loop, const Context& ctx, double seconds) {
  int64_t rounds = 1024;
  double taken = run_once(loop, rounds, ctx.pool);
  while (taken < 1e-3 && rounds < int64_t{1} << 40) {
    rounds *= 2;
    taken = run_once(loop, rounds, ctx.pool);
  }
  rounds = std::max<int64_t>(
      1, static_cast<int64_t>(static_cast<double>(rounds) * seconds / (kPeakRuns * taken)));
  for (int run = 0; run < kPeakRuns; ++run) {
    ctx.check_cancelled();
    const double again = run_once(loop, rounds, ctx.pool);
    taken = run == 0 ? again : std::min(taken, again);
  }
  const double operations =
      static_cast<double>(rounds) * static_cast<double>(loop.operations * ctx.pool.size());
  return {loop.instruction, operations / taken};
}

/// Memory in huge pages where the system has some to spare: the ceiling is that of the machine, not
/// that of its page tables.
class ReadBuffer {
 public:
  explicit ReadBuffer(int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    data_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) throw std::bad_alloc();
    ::madvise(data_, bytes_, MADV_HUGEPAGE);  // refused by some kernels: fine
  }
  ~ReadBuffer() { ::munmap(data_, bytes_); }
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;
  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  void* data_;
  size_t bytes_;
};

constexpr int64_t kChunkBytes = int64_t{1} << 20;

/// Several times the last-level cache, as far as that is a reasonable amount of memory.
int64_t buffer_bytes() {
  int64_t cache = 0;
  for (const CacheLevel& level : data_caches()) cache = std::max(cache, level.bytes);
  return std::clamp(4 * round_up(cache, kChunkBytes), int64_t{256} << 20, int64_t{1} << 30);
}

}  // namespace

ComputePeaks measure_peaks(const Context& ctx, double seconds) {
  const ProbeTable& table = probe_table(ctx.isa);
  return {measure(table.integer, ctx, seconds), measure(table.floating, ctx, seconds)};
}

std::vector<double> measure_read_bandwidth(const Context& ctx, double seconds) {
  const ProbeTable& table = probe_table(ctx.isa);
  const int64_t bytes = buffer_bytes(), chunks = bytes / kChunkBytes;
  const ReadBuffer buffer(bytes);
  ctx.pool.run_static(chunks, [&](int64_t begin, int64_t end, int) {
    std::memset(buffer.data() + begin * kChunkBytes, 1,
                static_cast<size_t>((end - begin) * kChunkBytes));
  });
  std::vector<uint32_t> sums(static_cast<size_t>(ctx.pool.size()));
  std::vector<double> passes;
  constexpr size_t kLeastPasses = 3;
  const Clock::time_point start = Clock::now();
  while (passes.size() < kLeastPasses || seconds_since(start) < seconds) {
    ctx.check_cancelled();
    const Clock::time_point pass = Clock::now();
    ctx.pool.run_static(chunks, [&](int64_t begin, int64_t end, int worker) {
      sums[static_cast<size_t>(worker)] =
          table.sum_lines(buffer.data() + begin * kChunkBytes, (end - begin) * kChunkBytes / 64);
    });
    passes.push_back(static_cast<double>(bytes) / seconds_since(pass));
  }
  // A sum that is checked cannot be left out: every byte is 1.
  uint32_t total = 0;
  for (const uint32_t sum : sums) total += sum;
  TWOFOLD_ASSERT(total == static_cast<uint32_t>(bytes / 4) * 0x01010101u);
  return passes;
}

double median(std::vector<double> values) {
  TWOFOLD_ASSERT(!values.empty());
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace twofold

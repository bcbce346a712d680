#include "pipeline/token_speed.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/checked_math.h"
#include "base/rng.h"
#include "engine/linear.h"
#include "formats/format.h"

namespace twofold {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kBlock = 16;  // rows that packed formats hold together
constexpr double kSeconds = 0.02;
constexpr int kLeastRuns = 3;

/// Bytes of weights that stay in the second cache of a core beside activations and results.
int64_t cached_bytes() {
  constexpr int64_t kUsual = int64_t{512} << 10;
  for (const CacheLevel& cache : data_caches()) {
    if (cache.level == 2) return cache.bytes / 2;
  }
  return kUsual;
}

/// The first rows of a matrix as a slot of its own, in the stored basis: as many as the caches of
/// the threads hold, the same for each thread.
class FirstRows {
 public:
  FirstRows(const Slot& whole, int threads) : tensor_(*whole.tensor), slot_(whole) {
    const int64_t rows = row_count(whole, threads);
    slot_.shape[0] = rows;
    slot_.transform = nullptr;
    slot_.input_scale = nullptr;
    slot_.tensor = &tensor_;
    if (whole.format.empty()) {
      slot_.view.row_count = rows;
      slot_.view.rope_permuted_heads = whole.view.rope_permuted_heads * rows / whole.shape[0];
      bytes_ = slot_bytes(whole) / whole.shape[0] * rows;
      return;
    }
    const Format format = parse_format(whole.format);
    const Tensor bytes = {{DType::kU8, whole.tensor->shape, whole.tensor->bytes},
                          whole.tensor->owner};
    const PackedMatrix part = first_rows({format, whole.shape[0], whole.shape[1], bytes}, rows);
    tensor_.bytes = part.bytes.view.bytes;
    tensor_.shape = part.bytes.view.shape;
    tensor_.owner = part.bytes.owner;
    bytes_ = static_cast<int64_t>(tensor_.bytes.size());
  }
  FirstRows(const FirstRows&) = delete;
  FirstRows& operator=(const FirstRows&) = delete;

  const Slot& slot() const { return slot_; }
  int64_t bytes() const { return bytes_; }

 private:
  static int64_t row_count(const Slot& whole, int threads) {
    const int64_t heads = whole.view.rope_permuted_heads;  // permuted within each: cut between them
    const int64_t step = heads > 0 ? whole.shape[0] / heads : kBlock;
    const int64_t step_bytes = std::max<int64_t>(1, slot_bytes(whole) / whole.shape[0] * step);
    int64_t steps = std::max<int64_t>(1, cached_bytes() / step_bytes);  // of each thread
    if (steps > 1) steps -= steps % 2;  // kernels unpack two blocks at a time
    return std::min(whole.shape[0], steps * step * threads);
  }

  StoredTensor tensor_;
  Slot slot_;
  int64_t bytes_ = 0;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double measure_rate(const ModelFiles& files, const Slot& whole, const Context& ctx) {
  const FirstRows part(whole, ctx.pool.size());
  const Linear linear(files, part.slot(), nullptr);
  std::vector<float> x(static_cast<size_t>(linear.cols())), y(static_cast<size_t>(linear.rows()));
  Rng rng(1, "kernel rate");
  for (float& value : x) value = static_cast<float>(rng.normal());
  LinearInput input({x.data(), 1, linear.cols()}, true);  // rounded once
  const auto product = [&] { linear.apply(input, {y.data(), 1, linear.rows()}, ctx); };
  product();
  double least = std::numeric_limits<double>::infinity();
  const Clock::time_point start = Clock::now();
  for (int run = 0; run < kLeastRuns || seconds_since(start) < kSeconds; ++run) {
    ctx.check_cancelled();
    const Clock::time_point begin = Clock::now();
    product();
    least = std::min(least, seconds_since(begin));
  }
  return static_cast<double>(part.bytes()) / std::max(least, 1e-9);
}

}  // namespace

std::string_view bound_name(const KindSpeed& speed) {
  return speed.bound_by_memory ? "memory" : "instructions";
}

TokenSpeed predict_speed(std::span<const MatrixKind> kinds, double read_bytes_per_second,
                         std::span<const double> rates) {
  TWOFOLD_ASSERT(kinds.size() == rates.size());
  TokenSpeed speed;
  double bytes = 0, seconds = 0;
  for (size_t i = 0; i < kinds.size(); ++i) {
    bytes += kinds[i].bytes_per_token;
    seconds += kinds[i].bytes_per_token / std::min(read_bytes_per_second, rates[i]);
    speed.kinds.push_back({rates[i], rates[i] >= read_bytes_per_second});
  }
  speed.memory_tokens_per_second = read_bytes_per_second / std::max(1.0, bytes);
  speed.tokens_per_second = std::min(seconds > 0 ? 1 / seconds : speed.memory_tokens_per_second,
                                     speed.memory_tokens_per_second);
  return speed;
}

std::vector<double> measure_kernel_rates(const ModelFiles& files, std::span<const MatrixKind> kinds,
                                         const Context& ctx) {
  std::vector<double> rates;
  for (const MatrixKind& kind : kinds) {
    rates.push_back(measure_rate(files, files.slots[kind.slot], ctx));
  }
  return rates;
}

}  // namespace twofold

// Speed of rounding a model to nearest, beside reading its weights from the page cache and writing
// as many bytes as the result has to the disk, by one thread and nothing else.
// Usage: bench_quantize MODEL FOLDER [THREADS [METHOD BITS GROUP]]; FOLDER is for what is written.
// Prints medians; rounds of both alternate. Wall time and processor time of all threads.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "io/file.h"
#include "measure.h"
#include "pipeline/quantize_model.h"

namespace twofold {
namespace {

constexpr int kRounds = 5;
constexpr double kLimit = 4;  // of read and write, for rounding to nearest

double processor_seconds() {
  timespec now = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Copies every tensor piece by piece.
void read_all(const ModelFiles& source, std::span<std::byte> piece) {
  for (const StoredTensor& tensor : source.checkpoint->tensors()) {
    for (size_t at = 0; at < tensor.bytes.size(); at += piece.size()) {
      std::memcpy(piece.data(), tensor.bytes.data() + at,
                  std::min(piece.size(), tensor.bytes.size() - at));
      __asm__ volatile("" : : "r"(piece.data()) : "memory");  // the copy is wanted
    }
  }
}

void write_all(const std::filesystem::path& path, int64_t bytes, std::span<const std::byte> piece) {
  FileWriter file(path);
  const uint64_t wanted = static_cast<uint64_t>(bytes);
  while (file.size() < wanted) {
    file.write(piece.first(std::min<uint64_t>(piece.size(), wanted - file.size())));
  }
  file.finish();
}

struct Times {
  std::vector<double> read, write, wall, processor;
};

void bench(const std::filesystem::path& model, const std::filesystem::path& folder,
           const MethodRequest& request, const Context& ctx) {
  std::filesystem::create_directories(folder);
  const Recipe recipe = recipe_from_flags({.block = request});
  std::vector<std::byte> piece(size_t{1} << 20);
  Times times;
  QuantizeReport report;
  for (int round = 0; round <= kRounds; ++round) {  // the first one warms up
    const ModelFiles source = open_model(model);
    const double begin = processor_seconds();
    const double wall = seconds([&] {
      report = quantize_model(source, recipe, {.output = folder / "quantized", .force = true}, ctx);
    });
    const double processor = processor_seconds() - begin;
    const ModelFiles again = open_model(model);  // maps anew: quantizing gives its pages back
    const double read = seconds([&] { read_all(again, piece); });
    const double write = seconds([&] { write_all(folder / "bytes", report.bytes, piece); });
    if (round == 0) continue;
    times.wall.push_back(wall);
    times.processor.push_back(processor);
    times.read.push_back(read);
    times.write.push_back(write);
  }
  const double weights = static_cast<double>(report.parameters);
  const double plain = median(times.read) + median(times.write);
  fmt::print("{:.1f} million weights to {:.1f} MB, {} {} bits group {}\n", 1e-6 * weights,
             1e-6 * static_cast<double>(report.bytes), request.method, request.bits.value_or(0),
             request.group.value_or(0));
  fmt::print("read {:.3f} s, write {:.3f} s\n", median(times.read), median(times.write));
  fmt::print("limit {} x read and write; ", kLimit);
  fmt::print("quantize {:.3f} s = {:.2f} x read and write; processor {:.3f} s = {:.1f} ns/weight\n",
             median(times.wall), median(times.wall) / plain, median(times.processor),
             1e9 * median(times.processor) / weights);
}

}  // namespace
}  // namespace twofold

int main(int argc, char** argv) {
  using namespace twofold;
  if (argc != 3 && argc != 4 && argc != 7) {
    fmt::print(stderr, "usage: bench_quantize MODEL FOLDER [THREADS [METHOD BITS GROUP]]\n");
    return 2;
  }
  try {
    ThreadPool pool(argc > 3 ? std::atoi(argv[3]) : 0);
    const Context ctx{.pool = pool, .isa = select_isa()};
    MethodRequest request{.method = "rtn", .bits = 4, .group = 64};
    if (argc > 4) {
      request = {.method = argv[4], .bits = std::atoi(argv[5]), .group = std::atoi(argv[6])};
    }
    fmt::print("{}, {} threads, {}\n", cpu_name(), pool.size(), isa_name(ctx.isa));
    bench(argv[1], argv[2], request, ctx);
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}

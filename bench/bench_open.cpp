// Time to open a model that is in the page cache: map it, parse its header, bind and check every
// tensor. Usage: bench_open [MODEL]; without an argument the model of the demo. Exit status 1 if
// the median misses the limit, which is meant for models of up to 270 MB.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "engine/model.h"

namespace {

constexpr int kRounds = 10;
constexpr double kLimitSeconds = 0.1;

double seconds_to_load(const std::filesystem::path& path) {
  const auto start = std::chrono::steady_clock::now();
  const auto model = twofold::Model::load(path);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path path =
      argc > 1 ? argv[1] : TWOFOLD_SOURCE_DIR "/models/shakespeare-char";
  try {
    std::vector<double> seconds;
    for (int i = 0; i < kRounds; ++i) seconds.push_back(seconds_to_load(path));
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[kRounds / 2];
    fmt::print("opening {}: median {:.4f} s, best {:.4f} s of {}; limit {} s: {}\n", path.string(),
               median, seconds.front(), kRounds, kLimitSeconds,
               median < kLimitSeconds ? "met" : "missed");
    return median < kLimitSeconds ? 0 : 1;
  } catch (const twofold::Error& error) {
    fmt::print(stderr, "bench_open: {}\n", error.what());
    return 1;
  }
}

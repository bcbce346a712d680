// `quantize` as its users meet it: killed and started again, with a budget, asked what it will
// cost.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/sha256.h"
#include "quant/conditioned_moment.h"
#include "quant/method.h"
#include "run_program.h"
#include "support/paths.h"

namespace twofold {
namespace {

using testing::read_file;
using testing::run_twofold;
using testing::RunOptions;
using testing::RunResult;
using testing::source_dir;
using testing::test_data;
namespace fs = std::filesystem;

class CliQuantizeRun : public ::testing::Test {
 protected:
  CliQuantizeRun() {
    std::string pattern = (fs::temp_directory_path() / "twofold-quantize-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    folder_ = pattern;
  }
  ~CliQuantizeRun() override { fs::remove_all(folder_); }

  std::vector<std::string> stories(const std::string& name, std::vector<std::string> more = {}) {
    std::vector<std::string> args = {"quantize",
                                     source_dir() / "models/stories260k/stories260K.bin",
                                     "-o",
                                     folder_ / name,
                                     "--method",
                                     "gptq",
                                     "--bits",
                                     "3",
                                     "--calibration",
                                     test_data("text") / "ts-calibration.txt",
                                     "--samples",
                                     "40",
                                     "--context",
                                     "256",
                                     "--save-interval",
                                     "0"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  std::string hash_of(const std::string& name) {
    return sha256_hex(read_file(folder_ / name / "model.safetensors")) +
           sha256_hex(read_file(folder_ / name / "config.json"));
  }
  /// Runs the command and sends `signal` when the third block starts.
  RunResult interrupted(const std::string& name, int signal) {
    RunOptions options;
    options.signal_when_exists = folder_ / (name + ".partial") / "hidden-states-2.f32";
    options.signal_after_first_output = signal;
    return run_twofold(stories(name), options);
  }

  fs::path folder_;
};

TEST_F(CliQuantizeRun, KilledOrInterruptedItGoesOnAndWritesTheSameBytes) {
  ASSERT_EQ(run_twofold(stories("whole")).status, 0);
  for (const int signal : {SIGKILL, SIGINT}) {
    const RunResult first = interrupted("parts", signal);
    EXPECT_EQ(first.status, 128 + signal) << first.err;
    ASSERT_TRUE(fs::exists(folder_ / "parts.partial/resume.jsonl"));
    if (signal == SIGINT) {
      EXPECT_NE(first.err.find("the same command goes on there"), std::string::npos) << first.err;
    }
    const RunResult second = run_twofold(stories("parts"));
    EXPECT_EQ(second.status, 0) << second.err;
    EXPECT_NE(second.err.find("going on after"), std::string::npos) << second.err;
    EXPECT_EQ(hash_of("parts"), hash_of("whole"));
    EXPECT_FALSE(fs::exists(folder_ / "parts.partial"));
    fs::remove_all(folder_ / "parts");
  }
}

TEST_F(CliQuantizeRun, ADryRunWritesNothingAndPredictsBytesAndMemory) {
  const std::vector<std::vector<std::string>> kinds = {
      stories("out", {"--json", "--force"}),
      stories("out", {"--json", "--force", "--no-score", "--true-sequential"}),
      {"quantize", source_dir() / "models/shakespeare-char", "-o", folder_ / "out", "--method",
       "rtn", "--json", "--force", "--no-score"},
      {"quantize", source_dir() / "models/shakespeare-char", "-o", folder_ / "out", "--method",
       "gptq", "--calibration", source_dir() / "models/shakespeare-char/input.txt", "--samples",
       "64", "--json", "--force"},
      {"quantize", source_dir() / "models/shakespeare-char", "-o", folder_ / "out", "--method",
       "trellis", "--bits", "2", "--effort", "fast", "--calibration",
       source_dir() / "models/shakespeare-char/input.txt", "--samples", "64", "--json", "--force"},
      {"quantize", source_dir() / "models/stories260k/stories260K.bin", "-o", folder_ / "out",
       "--method", "trellis", "--bits", "3", "--calibration",
       test_data("text") / "ts-calibration.txt", "--samples", "40", "--context", "256", "--threads",
       "8", "--json", "--force"}};
  for (std::vector<std::string> args : kinds) {
    fs::remove_all(folder_ / "out");
    const RunResult real = run_twofold(args);
    ASSERT_EQ(real.status, 0) << real.err;
    fs::remove_all(folder_ / "out");
    args.push_back("--dry-run");
    const RunResult dry = run_twofold(args);
    ASSERT_EQ(dry.status, 0) << dry.err;
    EXPECT_TRUE(fs::is_empty(folder_));
    const Json found = Json::parse(real.out), expected = Json::parse(dry.out);
    EXPECT_EQ(found["bytes"], expected["bytes"]);
    const double ratio =
        expected["peak_memory_bytes"].get<double>() / found["peak_memory_bytes"].get<double>();
    EXPECT_GT(ratio, 0.75) << args[1] << args[5] << dry.out;
    EXPECT_LT(ratio, 1.25) << args[1] << args[5] << dry.out;
    EXPECT_GT(expected["seconds"].get<double>(), 0);
  }
}

TEST_F(CliQuantizeRun, DataFreeMethodsRefuseWhatOnlyCalibrationGivesAnEffect) {
  int refused = 0;
  for (const Method& method : all_methods()) {
    if (needs_moment(choose_method({.method = std::string(method.name)}))) continue;
    std::vector<std::vector<std::string>> options = {{"--true-sequential"}};
    for (const ParamSpec& spec : moment_params()) {
      options.push_back({fmt::format("--{}", spec.name), std::string(spec.fallback)});
    }
    for (std::vector<std::string>& option : options) {
      const std::string name = option.front();
      std::vector<std::string> args = {"quantize",
                                       source_dir() / "models/stories260k/stories260K.bin",
                                       "-o",
                                       "out",
                                       "--dry-run",
                                       "--method",
                                       std::string(method.name)};
      args.insert(args.end(), option.begin(), option.end());
      const RunResult result = run_twofold(args);
      EXPECT_EQ(result.status, 2) << method.name << " " << name;
      EXPECT_NE(result.err.find(name + ":"), std::string::npos) << result.err;
      EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
      ++refused;
    }
  }
  EXPECT_GT(refused, 0);
}

TEST_F(CliQuantizeRun, SizesAreReadOrRefused) {
  for (const std::string bad : {"4X", "G", "-1", "0", "1.5G", "99999999999T"}) {
    const RunResult result = run_twofold(stories("out", {"--memory", bad}));
    EXPECT_EQ(result.status, 2) << bad;
    EXPECT_NE(result.err.find("--memory"), std::string::npos) << result.err;
  }
  EXPECT_EQ(run_twofold(stories("out", {"--memory", "4G", "--no-score"})).status, 0);
  const RunResult little = run_twofold(stories("small", {"--memory", "100K"}));
  EXPECT_EQ(little.status, 2);
  EXPECT_NE(little.err.find("at least"), std::string::npos) << little.err;
  EXPECT_NE(little.err.find("found 100K"), std::string::npos) << little.err;
}

}  // namespace
}  // namespace twofold

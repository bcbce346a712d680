// An interrupted quantization goes on at the first matrix that is not finished, and what it writes
// in the end is what it would have written without interruption.
#include <algorithm>
#include <csignal>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "pipeline/quantize_model.h"
#include "pipeline/resume_state.h"
#include "pipeline/support.h"
#include "quant/method.h"

namespace twofold {
namespace {

using testing::error_of;
using testing::read_file;
using testing::recipe_of;
using testing::stories;
using testing::TempFolder;
using testing::test_data;
using testing::write_file;
namespace fs = std::filesystem;

/// Two methods by turns among the matrices of one input.
Recipe mixed_recipe() {
  Recipe recipe = recipe_of("gptq", 3);
  recipe.rules.insert(
      recipe.rules.begin(),
      {.roles = {}, .layers = {}, .name = "k_proj", .request = {.method = "rtn", .bits = 4}});
  return recipe;
}

/// Trellis-coded matrices in one block, as they take their time on a CPU without vectors.
Recipe trellis_recipe() {
  Recipe recipe = recipe_of("gptq", 3);
  recipe.rules.insert(recipe.rules.begin(), {.roles = {"block"},
                                             .layers = {{2, 2}},
                                             .name = {},
                                             .request = {.method = "trellis", .bits = 2}});
  return recipe;
}

/// A way of working that has something of its own to go on with.
struct Kind {
  const char* name;
  Recipe (*recipe)();
  bool true_sequential = false;
  bool calibrated = true;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> kKinds = {
      {"gptq", [] { return recipe_of("gptq", 3); }},
      {"sequential", [] { return recipe_of("gptq", 3); }, true},
      {"trellis", trellis_recipe},
      {"trellisSequential", trellis_recipe, true},
      {"awq", [] { return recipe_of("awq", 3); }},  // matrices share a scale vector
      {"quip", [] { return recipe_of("quip", 3); }, true},
      {"mixed", mixed_recipe},
      {"rtn", [] { return recipe_of("rtn", 4); }, false, false}};
  return kKinds;
}

/// What a report says beside how long things took.
Json without_times(const fs::path& folder) {
  Json report = Json::parse(read_file(folder / "quantization_report.json"));
  for (const char* key : {"seconds", "phases", "peak_memory_bytes", "threads"}) report.erase(key);
  for (Json& row : report["matrices"]) {
    row.erase("seconds");
    row.erase("explore_seconds");
  }
  return report;
}

class Resume : public ::testing::Test {
 protected:
  QuantizeOptions options(const std::string& name, const Kind& kind = kinds().front()) {
    QuantizeOptions options{.output = folder_ / name,
                            .seed = 7,
                            .command_line = "test",
                            .true_sequential = kind.true_sequential,
                            .save_interval_seconds = 0};
    if (kind.calibrated) {
      options.calibration = {
          .files = {test_data("text") / "ts-calibration.txt"}, .samples = 4, .context = 64};
    }
    return options;
  }
  /// Counts the matrices that are quantized; calls `at` after each.
  void run(const QuantizeOptions& options, const Kind& kind = kinds().front(),
           const std::function<void(int64_t)>& at = {}) {
    ThreadPool pool(2, false);
    matrices_ = 0;
    steps_ = INT64_MAX;  // the first call says where a run goes on
    log_.clear();
    const auto progress = [&](std::string_view phase, int64_t done, int64_t total) {
      EXPECT_LE(done, total);
      const bool more = done > std::exchange(steps_, done);
      if (!more || total_matrices_ == matrices_ || phase.find("quantize") == phase.npos) return;
      ++matrices_;
      if (at) at(matrices_);
    };
    const Context ctx{.pool = pool,
                      .isa = select_isa(),
                      .progress = progress,
                      .log = [this](std::string_view line) { log_ += std::string(line) + "\n"; }};
    quantize_model(open_model(stories()), kind.recipe(), options, ctx);
  }
  void stop_after(int64_t matrices, const QuantizeOptions& options,
                  const Kind& kind = kinds().front()) {
    error_of(
        [&] {
          run(options, kind, [&](int64_t count) {
            if (count == matrices) fail(ErrorCode::kCancelled, "", "stopped here");
          });
        },
        ErrorCode::kCancelled);
  }
  /// Everything but the report, which says how long it took.
  std::map<std::string, std::string> files_of(const std::string& name) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder_ / name)) {
      const std::string file = entry.path().filename().string();
      if (file != "quantization_report.json") files[file] = sha256_hex(read_file(entry.path()));
    }
    return files;
  }
  void expect_same(const std::string& name, const std::string& whole) {
    EXPECT_EQ(files_of(name), files_of(whole));
    EXPECT_EQ(without_times(folder_ / name), without_times(folder_ / whole));
    EXPECT_FALSE(fs::exists(folder_ / (name + ".partial")));
  }
  std::string going_on_after(int64_t matrices) const {
    return fmt::format("going on after {} of {} matrices", matrices, total_matrices_);
  }

  static constexpr int64_t total_matrices_ = 5 * 7 + 1;  // the head is the table
  TempFolder folder_;
  std::string log_;
  int64_t matrices_ = 0, steps_ = 0;  // of the last run
};

class ResumeKind : public Resume, public ::testing::WithParamInterface<Kind> {};
INSTANTIATE_TEST_SUITE_P(All, ResumeKind, ::testing::ValuesIn(kinds()),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST_P(ResumeKind, ACancelledRunGoesOnAtTheNextMatrix) {
  const Kind& kind = GetParam();
  run(options("whole", kind), kind);
  EXPECT_EQ(matrices_, total_matrices_);
  for (const int64_t stop : {1, 3, 9, 18, 22, 28, 35}) {
    const QuantizeOptions wanted = options("parts", kind);
    stop_after(stop, wanted, kind);
    EXPECT_NE(log_.find(fmt::format("keeps {} of {} matrices", stop, total_matrices_)),
              std::string::npos)
        << log_;
    write_file(folder_ / "parts.partial/tokenizer.json", "{");  // cut off
    run(wanted, kind);
    EXPECT_EQ(matrices_, total_matrices_ - stop);
    EXPECT_NE(log_.find(going_on_after(stop)), std::string::npos) << log_;
    expect_same("parts", "whole");
    fs::remove_all(folder_ / "parts");
  }
}

TEST_P(ResumeKind, AKilledRunGoesOnAtTheNextMatrix) {
  const Kind& kind = GetParam();
  run(options("whole", kind), kind);
  QuantizeOptions wanted = options("parts", kind);
  wanted.save_interval_seconds = 1000;  // hidden states are made again
  const auto killed_after = [&](int64_t matrices) {
    run(wanted, kind, [&](int64_t count) {
      if (count == matrices) ::raise(SIGKILL);
    });
  };
  int64_t finished = 0;
  for (const int64_t more : {2, 4, 12}) {  // matrices of each process
    EXPECT_EXIT(killed_after(more), ::testing::KilledBySignal(SIGKILL), "");
    const std::optional<ResumeState> state = read_resume_state(folder_ / "parts.partial");
    ASSERT_TRUE(state);
    // The last one may have been on its way to the file.
    EXPECT_GE(std::ssize(state->matrices), finished + more - 1);
    EXPECT_LE(std::ssize(state->matrices), finished + more);
    finished = std::ssize(state->matrices);
  }
  run(wanted, kind);
  EXPECT_EQ(matrices_, total_matrices_ - finished);
  EXPECT_NE(log_.find(going_on_after(finished)), std::string::npos) << log_;
  expect_same("parts", "whole");
}

TEST_F(Resume, WhatMemoryAllowsMayChangeInBetween) {
  run(options("whole"));
  QuantizeOptions wanted = options("parts");
  stop_after(9, wanted);
  wanted.memory_bytes = 1 << 20;
  const std::string message = error_of([&] { run(wanted); }, ErrorCode::kInvalidArgument);
  const size_t at = message.find("at least ");
  ASSERT_NE(at, std::string::npos) << message;
  wanted.memory_bytes = (std::stoll(message.substr(at + 9)) + 1) << 20;
  stop_after(10, wanted);
  wanted.memory_bytes.reset();
  run(wanted);
  EXPECT_NE(log_.find(going_on_after(19)), std::string::npos) << log_;
  expect_same("parts", "whole");
}

TEST_F(Resume, ARunThatLastedAMomentLeavesNothing) {
  QuantizeOptions wanted = options("parts");
  wanted.save_interval_seconds = 1000;
  stop_after(9, wanted);
  EXPECT_TRUE(folder_.names().empty());
}

TEST_F(Resume, AFolderThatCannotBeFinishedCanBeGoneOnWith) {
  run(options("whole"));
  error_of(
      [&] {
        run(options("parts"), kinds().front(), [&](int64_t) {
          fs::create_directory(folder_ / "parts");  // somebody takes the name meanwhile
        });
      },
      ErrorCode::kIo);
  fs::remove_all(folder_ / "parts");
  run(options("parts"));
  EXPECT_NE(log_.find(going_on_after(total_matrices_)), std::string::npos) << log_;
  expect_same("parts", "whole");
}

class DamagedResume : public Resume {
 protected:
  DamagedResume() { run(options("whole")); }
  /// Stops after 20 matrices, damages, and runs to the end.
  void run_after(const std::function<void(QuantizeOptions&)>& damage) {
    stop_after(20, options("parts"));
    QuantizeOptions wanted = options("parts");
    damage(wanted);
    run(wanted);
    expect_same("parts", "whole");
    fs::remove_all(folder_ / "parts");
  }
  fs::path partial(const std::string& name) const { return folder_ / "parts.partial" / name; }
  /// Flips a bit at `part` of a file's length.
  static void flip_bit(const fs::path& path, double part) {
    std::string bytes = read_file(path);
    char& byte = bytes[static_cast<size_t>(part * static_cast<double>(bytes.size()))];
    byte = static_cast<char>(byte ^ 1);
    write_file(path, bytes);
  }
};

TEST_F(DamagedResume, OtherWorkStartsAnew) {
  run_after([](QuantizeOptions& wanted) { wanted.resume = false; });
  EXPECT_NE(log_.find("starting anew"), std::string::npos) << log_;
  EXPECT_EQ(matrices_, total_matrices_);
  QuantizeOptions other = options("parts");
  other.seed = 8;
  stop_after(20, other);
  run(options("parts"));
  EXPECT_NE(log_.find("starting anew"), std::string::npos) << log_;
  expect_same("parts", "whole");
}

TEST_F(DamagedResume, ItGoesOnBeforeAMatrixThatHasChanged) {
  for (const double part : {0.6, 0.75, 0.95}) {
    run_after([&](QuantizeOptions&) { flip_bit(partial("model.safetensors"), part); });
    EXPECT_NE(log_.find("has changed since it was written: going on before it"), std::string::npos)
        << log_;
    EXPECT_GT(matrices_, total_matrices_ - 20);
    EXPECT_LT(matrices_, total_matrices_);
  }
  // Nothing of the file can be used.
  run_after([&](QuantizeOptions&) { flip_bit(partial("model.safetensors"), 0); });
  EXPECT_NE(log_.find("starting anew"), std::string::npos) << log_;
  EXPECT_EQ(matrices_, total_matrices_);
  run_after([&](QuantizeOptions&) { fs::remove(partial("model.safetensors")); });
  EXPECT_EQ(matrices_, total_matrices_);
}

TEST_F(DamagedResume, AWeightFileThatIsTooShortKeepsWhatItHolds) {
  run_after([&](QuantizeOptions&) {
    const fs::path path = partial("model.safetensors");
    fs::resize_file(path, fs::file_size(path) - 1);
  });
  EXPECT_EQ(matrices_, total_matrices_ - 19);
}

TEST_F(DamagedResume, HiddenStatesThatChangedAreMadeAgain) {
  run_after([&](QuantizeOptions&) {
    int64_t damaged = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / "parts.partial")) {
      if (!entry.path().filename().string().starts_with("hidden-states-")) continue;
      flip_bit(entry.path(), 0.5);
      ++damaged;
    }
    EXPECT_EQ(damaged, 1);
  });
  EXPECT_NE(log_.find("making the hidden states again"), std::string::npos) << log_;
  EXPECT_EQ(matrices_, total_matrices_ - 20);
}

TEST_F(DamagedResume, ALogLineThatWasCutOffIsLeftOut) {
  run_after([&](QuantizeOptions&) {
    const fs::path path = partial("resume.jsonl");
    fs::resize_file(path, fs::file_size(path) - 5);
  });
  EXPECT_EQ(matrices_, total_matrices_ - 19);
  run_after([&](QuantizeOptions&) { write_file(partial("resume.jsonl"), ""); });
  EXPECT_EQ(matrices_, total_matrices_);
}

TEST_F(DamagedResume, ALogThatIsNoneStartsAnewAndIsNamed) {
  for (const char* text : {"{\"blocks\": 3}\n", "nonsense\n", "[]\n", "{\"fingerprint\": 1}\n"}) {
    run_after([&](QuantizeOptions&) { write_file(partial("resume.jsonl"), text); });
    EXPECT_NE(log_.find("resume.jsonl, line 1"), std::string::npos) << log_;
    EXPECT_NE(log_.find("starting anew"), std::string::npos) << log_;
  }
  run_after([&](QuantizeOptions&) {
    std::string text = read_file(partial("resume.jsonl"));
    const size_t third = text.find('\n', text.find('\n') + 1) + 1;
    write_file(partial("resume.jsonl"), text.insert(third, "{}\n"));
  });
  EXPECT_NE(log_.find("resume.jsonl, line 3"), std::string::npos) << log_;
}

}  // namespace
}  // namespace twofold

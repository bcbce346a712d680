// Under the final name there is only ever a complete folder: interruptions, full disks, bad weights
// and bad places leave nothing behind and what was there untouched.
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "pipeline/quantize_model.h"
#include "pipeline/support.h"

namespace twofold {
namespace {

using testing::error_of;
using testing::read_file;
using testing::recipe_of;
using testing::set_number;
using testing::shakespeare;
using testing::TempFolder;
using testing::tiny_model;
using testing::write_file;
namespace fs = std::filesystem;

/// The two commands that write folders.
struct Command {
  const char* name;
  void (*run)(const ModelFiles& source, const fs::path& output, bool force, const Context& ctx);
};

const std::vector<Command>& commands() {
  static const std::vector<Command> kCommands = {
      {"quantize",
       [](const ModelFiles& source, const fs::path& output, bool force, const Context& ctx) {
         quantize_model(source, recipe_of("rtn", 4), {.output = output, .force = force}, ctx);
       }},
      {"import",
       [](const ModelFiles& source, const fs::path& output, bool force, const Context& ctx) {
         import_model(source, {.output = output, .force = force}, ctx);
       }}};
  return kCommands;
}

class FolderSafety : public ::testing::TestWithParam<Command> {
 protected:
  void run(const fs::path& source, const fs::path& output, bool force = false) {
    const Context ctx{.pool = pool_, .cancel = &cancel_, .progress = progress_};
    GetParam().run(open_model(source), output, force, ctx);
  }

  TempFolder folder_;
  ThreadPool pool_{2, false};
  std::atomic<bool> cancel_{false};
  ProgressFn progress_;
};

INSTANTIATE_TEST_SUITE_P(All, FolderSafety, ::testing::ValuesIn(commands()),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST_P(FolderSafety, AnErrorInTheMiddleLeavesNothing) {
  progress_ = [](std::string_view, int64_t done, int64_t) {
    if (done == 5) fail(ErrorCode::kInternal, "", "stopped here");
  };
  const std::string message =
      error_of([&] { run(tiny_model("llama-gqa"), folder_ / "out"); }, ErrorCode::kInternal);
  EXPECT_EQ(message, "stopped here");
  EXPECT_TRUE(folder_.names().empty());
}

TEST_P(FolderSafety, CancellingLeavesNothing) {
  progress_ = [this](std::string_view, int64_t done, int64_t) { cancel_ = done == 5; };
  error_of([&] { run(tiny_model("llama-gqa"), folder_ / "out"); }, ErrorCode::kCancelled);
  EXPECT_TRUE(folder_.names().empty());
}

TEST_P(FolderSafety, AnExistingFolderIsReplacedOnlyIfForced) {
  fs::create_directory(folder_ / "out");
  write_file(folder_ / "out/mine.txt", "mine");
  write_file(folder_ / "out/config.json", "{}");
  error_of([&] { run(tiny_model("gpt2"), folder_ / "out"); }, ErrorCode::kInvalidArgument);
  EXPECT_EQ(read_file(folder_ / "out/mine.txt"), "mine");

  progress_ = [](std::string_view, int64_t done, int64_t) {
    if (done == 5) fail(ErrorCode::kInternal, "", "stopped here");
  };
  error_of([&] { run(tiny_model("gpt2"), folder_ / "out", true); }, ErrorCode::kInternal);
  EXPECT_EQ(read_file(folder_ / "out/mine.txt"), "mine");
  EXPECT_EQ(folder_.names(), std::vector<std::string>{"out"});

  progress_ = {};
  run(tiny_model("gpt2"), folder_ / "out", true);
  EXPECT_FALSE(fs::exists(folder_ / "out/mine.txt"));
  EXPECT_NO_THROW(open_model(folder_ / "out"));
  EXPECT_EQ(folder_.names(), std::vector<std::string>{"out"});
}

TEST_P(FolderSafety, AFolderThatIsNoModelIsNeverReplaced) {
  fs::create_directory(folder_ / "letters");
  write_file(folder_ / "letters/mine.txt", "mine");
  const std::string message = error_of([&] { run(tiny_model("gpt2"), folder_ / "letters", true); },
                                       ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("letters"), std::string::npos) << message;
  EXPECT_EQ(read_file(folder_ / "letters/mine.txt"), "mine");
  fs::create_directory(folder_ / "empty");
  EXPECT_NO_THROW(run(tiny_model("gpt2"), folder_ / "empty", true));
}

TEST_P(FolderSafety, TheSourceIsNeverReplaced) {
  fs::copy(tiny_model("gpt2"), folder_ / "model");
  fs::copy_file(tiny_model("gpt2.gguf"), folder_ / "model/model.gguf");
  const std::vector<fs::path> sources = {folder_ / "model", folder_ / "model/model.gguf"};
  for (const fs::path& source : sources) {
    for (const std::string output : {"model", "model/", "model/../model", "."}) {
      const std::string message =
          error_of([&] { run(source, folder_ / output, true); }, ErrorCode::kInvalidArgument);
      EXPECT_NE(message.find("holds the source"), std::string::npos) << message;
    }
  }
  EXPECT_NO_THROW(open_model(folder_ / "model"));
  run(folder_ / "model", folder_ / "model/inside");
  EXPECT_NO_THROW(open_model(folder_ / "model/inside"));
}

/// Lets no file of this process grow beyond `bytes`, so that writes fail as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

TEST_P(FolderSafety, AFullDiskLeavesNothing) {
  // The weight files have some 100 kB, the smallest file 100 bytes: fail early and late.
  for (const rlim_t bytes : {rlim_t{0}, rlim_t{40}, rlim_t{10000}}) {
    const FileSizeLimit limit(bytes);
    const std::string message =
        error_of([&] { run(shakespeare(), folder_ / "out"); }, ErrorCode::kIo);
    EXPECT_NE(message.find("out.partial"), std::string::npos) << message;
    EXPECT_TRUE(folder_.names().empty());
  }
}

TEST_P(FolderSafety, AMissingParentFolderIsAnError) {
  error_of([&] { run(tiny_model("gpt2"), folder_ / "no/such/out"); }, ErrorCode::kIo);
  EXPECT_TRUE(folder_.names().empty());
}

TEST_P(FolderSafety, NumbersThatAreNotFiniteAreRefusedByName) {
  // A quantized matrix (stored transposed), a kept vector, the last number of a table.
  struct Place {
    const char* tensor;
    int64_t element;
    const char* said;
  };
  const Place places[] = {{"transformer.h.1.attn.c_attn.weight", 5, "c_attn.weight"},
                          {"transformer.h.2.ln_1.bias", 31, "row 31"},
                          {"transformer.wpe.weight", -1, "row 63, column 31"}};
  const float bad_numbers[] = {std::numeric_limits<float>::quiet_NaN(),
                               std::numeric_limits<float>::infinity(),
                               -std::numeric_limits<float>::infinity()};
  for (const Place& place : places) {
    for (const float bad : bad_numbers) {
      const fs::path model = folder_ / "model";
      fs::remove_all(model);
      fs::copy(tiny_model("gpt2"), model);
      set_number(model, place.tensor, place.element, bad);
      const std::string message =
          error_of([&] { run(model, folder_ / "out"); }, ErrorCode::kUnsupported);
      EXPECT_NE(message.find(place.tensor), std::string::npos) << message;
      EXPECT_NE(message.find(place.said), std::string::npos) << message;
      EXPECT_EQ(folder_.names(), std::vector<std::string>{"model"});
    }
  }
}

}  // namespace
}  // namespace twofold

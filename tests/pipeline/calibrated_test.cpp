// Calibrated quantization: what it writes does not depend on threads, memory or interruptions; what
// it says of itself is true.
#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "engine/load_tokenizer.h"
#include "eval/evaluate.h"
#include "pipeline/forecast.h"
#include "pipeline/quantize_model.h"
#include "pipeline/self_score.h"
#include "pipeline/support.h"
#include "quant/method.h"

namespace twofold {
namespace {

using testing::error_of;
using testing::read_file;
using testing::set_number;
using testing::stories;
using testing::TempFolder;
using testing::test_data;
using testing::tiny_model;
using testing::write_file;
namespace fs = std::filesystem;

Recipe calibrated_recipe(const std::string& method = "gptq", int bits = 3) {
  return testing::recipe_of(method, bits);
}

CalibrationOptions few_samples() {
  return {.files = {test_data("text") / "ts-calibration.txt"}, .samples = 4, .context = 64};
}

class Calibrated : public ::testing::Test {
 protected:
  QuantizeOptions options(const std::string& name) {
    return {.output = folder_ / name,
            .seed = 7,
            .command_line = "test",
            .calibration = few_samples(),
            .save_interval_seconds = 0};
  }
  QuantizeReport run(const QuantizeOptions& options, const Recipe& recipe = calibrated_recipe(),
                     int threads = 2) {
    ThreadPool pool(threads, false);
    const Context ctx{.pool = pool, .progress = progress_, .log = [this](std::string_view line) {
                        log_ += std::string(line) + "\n";
                      }};
    return quantize_model(open_model(stories()), recipe, options, ctx);
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

  TempFolder folder_;
  ProgressFn progress_;
  std::string log_;
};

TEST_F(Calibrated, FilesDoNotDependOnThreadsOrMemory) {
  // The hidden states of these samples have 4 MB.
  const CalibrationOptions many = {.files = few_samples().files, .samples = 60, .context = 256};
  QuantizeOptions two = options("two"), one = options("one"), tight = options("tight");
  two.calibration = one.calibration = tight.calibration = many;
  run(two);
  run(one, calibrated_recipe(), 1);
  EXPECT_EQ(files_of("one"), files_of("two"));
  // The least memory that works: the error names it.
  tight.memory_bytes = 1 << 20;
  const std::string message = error_of([&] { run(tight); }, ErrorCode::kInvalidArgument);
  const size_t at = message.find("at least ");
  ASSERT_NE(at, std::string::npos) << message;
  EXPECT_FALSE(fs::exists(folder_ / "tight.partial"));
  tight.memory_bytes = (std::stoll(message.substr(at + 9)) + 1) << 20;
  bool saw_file = false;
  progress_ = [&](std::string_view, int64_t, int64_t) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder_ / "tight.partial", ignored)) {
      saw_file |= entry.path().filename() == "hidden-states-1.f32";
    }
  };
  tight.save_interval_seconds = 1000;  // so that only the budget makes files
  run(tight);
  EXPECT_TRUE(saw_file);
  EXPECT_EQ(files_of("tight"), files_of("two"));
}

TEST_F(Calibrated, AFolderThatCannotBeFinishedCanBeGoneOnWith) {
  run(options("whole"));
  progress_ = [&](std::string_view, int64_t, int64_t) {
    fs::create_directory(folder_ / "parts");  // somebody takes the name meanwhile
  };
  error_of([&] { run(options("parts")); }, ErrorCode::kIo);
  ASSERT_TRUE(fs::exists(folder_ / "parts.partial/resume.jsonl"));
  progress_ = {};
  log_.clear();
  fs::remove_all(folder_ / "parts");
  run(options("parts"));
  EXPECT_NE(log_.find("going on after"), std::string::npos) << log_;
  EXPECT_EQ(files_of("parts"), files_of("whole"));
}

TEST_F(Calibrated, TrueSequentialTakesMomentsFromWhatIsQuantized) {
  run(options("plain"));
  QuantizeOptions sequential = options("sequential");
  sequential.true_sequential = true;
  const QuantizeReport report = run(sequential);
  EXPECT_TRUE(report.calibration->true_sequential);
  EXPECT_NE(files_of("sequential")["model.safetensors"], files_of("plain")["model.safetensors"]);
}

TEST_F(Calibrated, TheReportSaysWhatWasCalibrated) {
  const QuantizeReport report = run(options("out"));
  ASSERT_TRUE(report.calibration);
  EXPECT_EQ(report.calibration->samples, 4);
  EXPECT_EQ(report.calibration->context, 64);
  EXPECT_EQ(report.calibration->inputs.size(), 20u);  // 5 blocks
  for (const InputReport& input : report.calibration->inputs) EXPECT_EQ(input.tokens, 256);
  const Json json = Json::parse(read_file(folder_ / "out/quantization_report.json"));
  EXPECT_EQ(json["calibration"]["inputs"].size(), 20u);
  EXPECT_EQ(json["calibration"]["text_sha256"], report.calibration->text_sha256);
  EXPECT_GT(json["phases"]["observe"].get<double>(), 0);
  EXPECT_GT(json["peak_memory_bytes"].get<int64_t>(), 1 << 20);
}

/// Loss on the text behind the calibration samples.
double held_back_loss(const fs::path& path) {
  ThreadPool pool(1);
  const ModelFiles source = open_model(stories());
  const CalibrationSamples samples =
      load_samples(few_samples(), *load_tokenizer(source), source.config.context, 7);
  const auto model = Model::load(path);
  return evaluate(*model, nullptr, samples.held_back, 0, {.protocol = "sequences"},
                  {.config = model->config()}, {.pool = pool})
      .nats_per_token;
}

TEST_F(Calibrated, CalibratedRoundingLosesLessThanNearest) {
  QuantizeOptions rtn = options("rtn");
  rtn.calibration.reset();
  run(options("gptq"));
  run(rtn, calibrated_recipe("rtn"));
  EXPECT_LT(held_back_loss(folder_ / "gptq"), held_back_loss(folder_ / "rtn"));
}

TEST_F(Calibrated, DataFreeMethodsCollectNothing) {
  QuantizeOptions free = options("out");
  free.calibration.reset();
  const QuantizeReport report = run(free, calibrated_recipe("rtn"));
  EXPECT_FALSE(report.calibration);
}

TEST_F(Calibrated, TheScoreIsThatOfTheFolder) {
  QuantizeOptions scored = options("out");
  scored.score = true;
  const QuantizeReport report = run(scored);
  ASSERT_TRUE(report.score);
  EXPECT_GT(report.score->tokens, 0);
  EXPECT_NEAR(report.score->source_nats, held_back_loss(stories()), 1e-9);
  EXPECT_NEAR(report.score->result_nats, held_back_loss(folder_ / "out"), 1e-9);
  EXPECT_TRUE(report.notes.empty());
}

TEST_F(Calibrated, ABrokenResultIsCalledBroken) {
  QuantizeOptions scored = options("out");
  scored.score = true;
  const QuantizeReport report = run(scored, calibrated_recipe("rtn", 2));
  ASSERT_FALSE(report.notes.empty());
  EXPECT_NE(report.notes.back().find("broken"), std::string::npos) << report.notes.back();
}

TEST_F(Calibrated, ALossThatIsNotFiniteIsCalledBroken) {
  for (const double bad : {NAN, INFINITY, -INFINITY}) {
    EXPECT_NE(broken_warning({.text = "", .source_nats = 1, .result_nats = bad}), "") << bad;
    EXPECT_NE(broken_warning({.text = "", .source_nats = bad, .result_nats = 1}), "") << bad;
  }
  EXPECT_EQ(broken_warning({.text = "", .source_nats = 1, .result_nats = 1}), "");
}

TEST_F(Calibrated, TooLittleTextIsAnErrorWithBothCounts) {
  QuantizeOptions many = options("out");
  write_file(folder_ / "short.txt", "Once upon a time there was a cat.");
  many.calibration->files = {folder_ / "short.txt"};
  const std::string message = error_of([&] { run(many); }, ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("short.txt"), std::string::npos) << message;
  EXPECT_NE(message.find("256"), std::string::npos) << message;
  write_file(folder_ / "short.txt", "caf\xe9 au lait");
  const std::string encoding = error_of([&] { run(many); }, ErrorCode::kCorruptFile);
  EXPECT_NE(encoding.find("short.txt"), std::string::npos) << encoding;
  many.calibration->files = {folder_ / "none.txt"};
  error_of([&] { run(many); }, ErrorCode::kIo);
  EXPECT_FALSE(fs::exists(folder_ / "out.partial"));
}

/// Quantizes the character model on windows of 64 tokens of a text that holds '$' at place `at` and
/// nowhere else there; the numbers of tables are finite, but not the sum of this character's and
/// this place's.
class NotFiniteAt {
 public:
  NotFiniteAt(const testing::TempFolder& folder, int64_t at)
      : text_(folder / "text.txt"), model_(folder / "model") {
    fs::copy(testing::shakespeare(), model_);
    set_number(model_, "transformer.wte.weight", 3 * 128, 3e38f);  // '$'
    set_number(model_, "transformer.wpe.weight", at * 128, 3e38f);
    std::string text = read_file(model_ / "input.txt").substr(0, 10000);
    text[static_cast<size_t>(at)] = '$';
    write_file(text_, text);
  }
  QuantizeReport quantized(QuantizeOptions wanted, int64_t samples) const {
    wanted.calibration = {
        .files = {text_}, .samples = samples, .context = 64, .sampling = Sampling::kConsecutive};
    wanted.force = true;
    ThreadPool pool(2, false);
    const Context ctx{.pool = pool};
    return quantize_model(open_model(model_), testing::recipe_of("rtn", 3, "keep"), wanted, ctx);
  }

 private:
  fs::path text_, model_;
};

void expect_dropped(const QuantizeReport& report, const InputReport& input, int64_t dropped) {
  EXPECT_EQ(input.dropped, dropped) << input.name;
  EXPECT_EQ(input.tokens, 128 * 64 - dropped) << input.name;
  const std::string note =
      fmt::format("{}: {} tokens were not finite and left out", input.name, dropped);
  EXPECT_NE(std::ranges::find(report.notes, note), report.notes.end()) << note;
}

TEST_F(Calibrated, TokensThatAreNotFiniteAreLeftOutUpToOnePercent) {
  const NotFiniteAt first(folder_, 0);  // attention carries it to the whole window
  const QuantizeReport report = first.quantized(options("out"), 128);
  const std::vector<InputReport>& inputs = report.calibration->inputs;
  ASSERT_EQ(inputs.size(), 4u * 4);
  for (const InputReport& input : inputs) {
    expect_dropped(report, input, input.name == inputs[0].name ? 1 : 64);
  }
  const std::string message =
      error_of([&] { first.quantized(options("out"), 80); }, ErrorCode::kUnsupported);
  EXPECT_NE(message.find("64 of 5120 tokens"), std::string::npos) << message;
  EXPECT_NE(message.find(inputs[1].name), std::string::npos) << message;
}

TEST_F(Calibrated, ALastTokenThatIsNotFiniteIsTheOnlyOneLeftOut) {
  const QuantizeReport report = NotFiniteAt(folder_, 63).quantized(options("out"), 128);
  ASSERT_EQ(report.calibration->inputs.size(), 4u * 4);
  for (const InputReport& input : report.calibration->inputs) expect_dropped(report, input, 1);
}

TEST_F(Calibrated, AWeightThatIsNotFiniteIsNamedRatherThanWhatComesOfIt) {
  for (const char* tensor : {"transformer.h.1.mlp.c_fc.weight", "transformer.h.1.ln_2.weight"}) {
    const fs::path model = folder_ / tensor;
    fs::copy(testing::shakespeare(), model);
    set_number(model, tensor, 5, std::numeric_limits<float>::quiet_NaN());
    QuantizeOptions wanted = options("out");
    wanted.calibration = {.samples = 4};
    ThreadPool pool(2, false);
    const std::string message = error_of(
        [&] {
          quantize_model(open_model(model), testing::recipe_of("gptq", 3, "keep"), wanted,
                         {.pool = pool});
        },
        ErrorCode::kUnsupported);
    EXPECT_NE(message.find(tensor), std::string::npos) << message;
    EXPECT_NE(message.find("found nan at row"), std::string::npos) << message;
  }
}

TEST_F(Calibrated, ASourceWithoutTokenizerIsRefusedByName) {
  ThreadPool pool(1);
  const Context ctx{.pool = pool};
  const std::string message = error_of(
      [&] {
        quantize_model(open_model(tiny_model("gpt2")), calibrated_recipe(), options("out"), ctx);
      },
      ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("tokenizer"), std::string::npos) << message;
}

TEST_F(Calibrated, MatricesOutsideOfBlocksThatNeedMomentsAreRefused) {
  Recipe everything;  // one rule for every tensor
  everything.rules.push_back(
      {.roles = {}, .layers = {}, .name = {}, .request = {.method = "gptq", .bits = 3}});
  const std::string message =
      error_of([&] { run(options("out"), everything); }, ErrorCode::kInvalidArgument);
  EXPECT_NE(message.find("embed_tokens"), std::string::npos) << message;
}

TEST_F(Calibrated, TheForecastOfBytesIsExact) {
  ThreadPool pool(2, false);
  const Context ctx{.pool = pool};
  const Forecast forecast =
      forecast_quantization(open_model(stories()), calibrated_recipe(), options("out"), ctx);
  EXPECT_FALSE(fs::exists(folder_ / "out.partial"));
  EXPECT_EQ(forecast.bytes, run(options("out")).bytes);
  EXPECT_GT(forecast.seconds, 0);
}

}  // namespace
}  // namespace twofold

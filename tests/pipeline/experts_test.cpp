// Mixtures of experts through the pipeline: every expert is calibrated by its own tokens, those
// that hardly any token reaches by what the report says, and nothing depends on memory.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "base/rng.h"
#include "base/sha256.h"
#include "calib/moment_sum.h"
#include "engine/block_runner.h"
#include "engine/load_tokenizer.h"
#include "pipeline/forecast.h"
#include "pipeline/quantize_model.h"
#include "pipeline/support.h"
#include "pipeline/work_plan.h"
#include "quant/method.h"

namespace twofold {
namespace {

using testing::error_of;
using testing::numbers_of;
using testing::read_file;
using testing::TempFolder;
using testing::test_data;
using testing::write_file;
namespace fs = std::filesystem;

constexpr uint64_t kSeed = 11;
constexpr int64_t kExperts = 8;

/// Blocks 1 and 3 have experts; their sides are not those of the other blocks.
const Json kConfig = {{"model_type", "qwen3_moe"},
                      {"architectures", {"Qwen3MoeForCausalLM"}},
                      {"vocab_size", 96},
                      {"hidden_size", 256},
                      {"intermediate_size", 192},
                      {"moe_intermediate_size", 64},
                      {"num_hidden_layers", 4},
                      {"num_attention_heads", 4},
                      {"num_key_value_heads", 2},
                      {"head_dim", 32},
                      {"max_position_embeddings", 256},
                      {"num_experts", kExperts},
                      {"num_experts_per_tok", 2},
                      {"norm_topk_prob", true},
                      {"decoder_sparse_step", 2},
                      {"tie_word_embeddings", false}};

/// A random model. Rows of a router: v, -v, then zeros, so that each token has expert 0 or 1, and
/// expert 2, the first of equal ones. With `reach_all` rows are random.
void make_model(const fs::path& folder, bool reach_all) {
  fs::create_directories(folder);
  write_file(folder / "config.json", kConfig.dump());
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    fs::copy_file(testing::shakespeare() / name, folder / name);
  }
  const Family& family = find_family(kConfig, "test");
  const ModelConfig config = family.parse_config(kConfig, "test");
  std::vector<TensorPlan> plan;
  std::vector<std::vector<float>> numbers;
  Rng rng(kSeed, "mixture");
  for (int64_t layer = -1; layer < config.layers; ++layer) {
    for (const TensorRule& rule : family.rules) {
      for (int64_t e = 0; e < tensor_count(rule, config, layer); ++e) {
        Shape shape = {side_length(rule.rows, config)};
        if (rule.cols != Side::kNone) shape.push_back(side_length(rule.cols, config));
        plan.push_back({tensor_name(rule, layer, e), DType::kF32, shape});
        std::vector<float>& values =
            numbers.emplace_back(static_cast<size_t>(element_count(shape, "test")));
        const float spread = 1.7f / std::sqrt(static_cast<float>(shape.back()));
        for (float& x : values) {
          x = rule.cols == Side::kNone ? 1 : spread * static_cast<float>(2 * rng.uniform() - 1);
        }
        if (rule.role != Role::kRouter || reach_all) continue;
        const auto cols = static_cast<std::ptrdiff_t>(shape[1]);
        std::transform(values.begin(), values.begin() + cols, values.begin() + cols,
                       std::negate<>());
        std::fill(values.begin() + 2 * cols, values.end(), 0.0f);
      }
    }
  }
  SafetensorsWriter writer(folder, plan, {{"format", "pt"}});
  for (const std::vector<float>& values : numbers) writer.write(std::as_bytes(std::span(values)));
  writer.finish();
}

class ExpertRun : public ::testing::Test {
 protected:
  ExpertRun() {
    make_model(folder_ / "some", false);
    make_model(folder_ / "all", true);
  }
  static CalibrationOptions samples() {
    return {.files = {test_data("text") / "ts-calibration.txt"}, .samples = 4, .context = 48};
  }
  QuantizeOptions options(const std::string& name) {
    return {.output = folder_ / name,
            .seed = kSeed,
            .command_line = "test",
            .calibration = samples(),
            .save_interval_seconds = 0};
  }
  QuantizeReport run(const std::string& model, const QuantizeOptions& options,
                     const Recipe& recipe = testing::recipe_of("gptq", 3)) {
    return quantize_model(open_model(folder_ / model), recipe, options,
                          {.pool = pool_, .progress = progress_});
  }
  std::string weights_of(const std::string& name) {
    return sha256_hex(read_file(folder_ / name / "model.safetensors"));
  }

  TempFolder folder_;
  ThreadPool pool_{2, false};
  ProgressFn progress_;
};

const MatrixReport& row_of(const QuantizeReport& report, const ModelFiles& files,
                           const std::string& slot) {
  const auto row = std::ranges::find(report.matrices, files.find(slot)->name, &MatrixReport::name);
  if (row == report.matrices.end()) throw std::runtime_error("no row for " + slot);
  return *row;
}

int64_t tokens_of(const QuantizeReport& report, const std::string& input) {
  const auto row = std::ranges::find(report.calibration->inputs, input, &InputReport::name);
  return row == report.calibration->inputs.end() ? -1 : row->tokens;
}

TEST_F(ExpertRun, TheReportCountsTheTokensOfEveryExpert) {
  const QuantizeReport report = run("some", options("out"));
  const ModelFiles files = open_model(folder_ / "some");
  const int64_t all = 4 * 48;
  for (const int layer : {1, 3}) {
    const auto count = [&](int64_t expert, const char* part) {
      return tokens_of(report, fmt::format("layers.{}.mlp.experts.{}.{}", layer, expert, part));
    };
    EXPECT_EQ(count(0, "in") + count(1, "in"), all);
    EXPECT_EQ(count(2, "in"), all);
    for (int64_t e = 0; e < kExperts; ++e) {
      EXPECT_EQ(count(e, "in"), count(e, "mid"));
      EXPECT_EQ(count(e, "in") == 0, e > 2);
      for (const char* part : {"gate", "up", "down"}) {
        const std::string slot = fmt::format("layers.{}.mlp.experts.{}.{}", layer, e, part);
        const MatrixReport& row = row_of(report, files, slot);
        const std::string notes = fmt::format("{}", fmt::join(row.notes, "\n"));
        const bool few = count(e, "in") < row.cols;
        EXPECT_EQ(notes.find("calibration token") != std::string::npos, few) << slot << notes;
        EXPECT_EQ(notes.find("no calibration token") != std::string::npos, e > 2) << slot << notes;
        const char* from = part == std::string("down") ? "the identity" : "mlp.in";
        EXPECT_EQ(notes.find(from) != std::string::npos, few) << slot << notes;
      }
    }
  }
  size_t warnings = 0;
  for (const std::string& note : report.notes) {
    EXPECT_EQ(note.find("no calibration token"), std::string::npos) << note;
    if (note.find(" of 16 experts") == std::string::npos) continue;
    ++warnings;
    EXPECT_NE(note.find("none: block 1: 3, 4, 5, 6, 7; block 3: 3, 4, 5, 6, 7"), std::string::npos)
        << note;
  }
  EXPECT_EQ(warnings, 1u);
  const Json json = Json::parse(read_file(folder_ / "out/quantization_report.json"));
  EXPECT_EQ(json["calibration"]["inputs"].size(), 4 * 2 + 2 * 2 + 2 * 2 * 8);
  const QuantizeReport again = inspect_model(open_model(folder_ / "out"));
  EXPECT_EQ(again.bytes, report.bytes);
  EXPECT_EQ(again.bits_per_weight, report.bits_per_weight);
}

/// Bytes of the matrices that read one input, rounded by themselves.
std::vector<std::string> solved(const ModelFiles& files, const std::string& input,
                                const SecondMoment& moment, const Context& ctx) {
  const MethodChoice choice = choose_method({.method = "gptq", .bits = 3});
  InputProblem problem{.moment = &moment, .weights = {}, .seed = kSeed, .name = input};
  std::vector<const Slot*> readers;
  std::vector<std::vector<float>> numbers;
  for (const Slot& slot : files.slots) {
    if (slot.input != input || !is_block_linear(slot.role)) continue;
    readers.push_back(&slot);
    numbers.push_back(numbers_of(slot));
    problem.weights.emplace_back(numbers.back().data(), slot.shape[0], slot.shape[1]);
  }
  const auto prepared = prepare_input(choice, problem, ctx);
  std::vector<std::string> bytes;
  for (size_t i = 0; i < readers.size(); ++i) {
    const Solution solution = solve(choice, *prepared,
                                    {.weight = problem.weights[i],
                                     .moment = &moment,
                                     .seed = kSeed,
                                     .input_name = input,
                                     .matrix_name = readers[i]->name},
                                    ctx);
    const PackedMatrix packed = pack(solution.q);
    const auto view = packed.bytes.view.bytes;
    bytes.emplace_back(reinterpret_cast<const char*>(view.data()), view.size());
  }
  return bytes;
}

TEST_F(ExpertRun, AnExpertWithoutTokensIsRoundedByTheStatedMoments) {
  run("some", options("out"));
  const Context ctx{.pool = pool_};
  const ModelFiles files = open_model(folder_ / "some"), made = open_model(folder_ / "out");
  const CalibrationSamples windows =
      load_samples(samples(), *load_tokenizer(files), files.config.context, kSeed);
  // Block 0 was quantized before: its output enters block 1.
  MomentSum sum(files.config.hidden);
  for (const std::vector<int32_t>& ids : windows.windows) {
    std::vector<float> numbers(ids.size() * static_cast<size_t>(files.config.hidden));
    const Matrix<float> stream(numbers.data(), std::ssize(ids), files.config.hidden);
    embed_sequence(files, ids, stream, ctx);
    BlockRunner(made, 0).run(stream, ctx);
    BlockRunner(files, 1).observe(stream, "layers.1.mlp.in", ctx,
                                  [&](std::string_view input, Matrix<const float> x) {
                                    if (input == "layers.1.mlp.in") sum.add_sequence(x, ctx);
                                  });
  }
  SecondMoment identity{
      .cols = 64, .tokens = 0, .h = std::vector<double>(64 * 64), .mean_magnitude = {}};
  for (size_t j = 0; j < 64; ++j) identity.h[j * 64 + j] = 1;
  const auto stored = [&](const std::string& slot) {
    const auto bytes = made.find(slot)->tensor->bytes;
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const std::string prefix = "layers.1.mlp.experts.5.";
  EXPECT_EQ(solved(files, prefix + "in", sum.mean(), ctx),
            (std::vector{stored(prefix + "gate"), stored(prefix + "up")}));
  EXPECT_EQ(solved(files, prefix + "mid", identity, ctx), std::vector{stored(prefix + "down")});
}

TEST_F(ExpertRun, FilesDoNotDependOnHowManyExpertsShareAPass) {
  for (const bool sequential : {false, true}) {
    const std::string name = sequential ? "sequential" : "at-once";
    QuantizeOptions plain = options(name), tight = options(name + "-tight");
    plain.true_sequential = tight.true_sequential = sequential;
    tight.save_interval_seconds = plain.save_interval_seconds = 1000;
    int64_t passes = 0;
    std::string last;
    progress_ = [&](std::string_view phase, int64_t, int64_t) {
      if (phase == last) return;
      last = phase;
      passes += phase.ends_with("observe") ? 1 : 0;
    };
    run("all", plain);
    // Each block at once, or: attention's two inputs, then two of an MLP or of all its experts.
    EXPECT_EQ(passes, sequential ? 4 * 4 : 4);
    tight.memory_bytes = 1 << 20;
    const std::string message = error_of([&] { run("all", tight); }, ErrorCode::kInvalidArgument);
    const size_t at = message.find("at least ");
    ASSERT_NE(at, std::string::npos) << message;
    // What the process holds may have grown since; the moments of all experts have 5 MB.
    tight.memory_bytes = (std::stoll(message.substr(at + 9)) + 2) << 20;
    passes = 0;
    run("all", tight);
    EXPECT_GE(passes, 4 * 4);
    EXPECT_EQ(weights_of(name + "-tight"), weights_of(name));
  }
}

TEST_F(ExpertRun, StagesHoldAsManyExpertsAsAsked) {
  const ModelFiles files = open_model(folder_ / "all");
  const WorkPlan work = plan_work(files, testing::recipe_of("gptq", 3), options("out"));
  const PlannedBlock& block = work.output.blocks.at(2);
  ASSERT_EQ(block.layer, 1);
  const auto sizes = [&](StageSize size) {
    std::vector<size_t> found;
    for (const auto& stage : stages_of(block, size)) found.push_back(stage.size());
    return found;
  };
  EXPECT_EQ(sizes({}), std::vector<size_t>({18}));
  EXPECT_EQ(sizes({.input_by_input = true}), std::vector<size_t>({1, 1, 8, 8}));
  EXPECT_EQ(sizes({.input_by_input = true, .experts = 5}), std::vector<size_t>({1, 1, 5, 3, 5, 3}));
  EXPECT_EQ(sizes({.input_by_input = true, .experts = 1}), std::vector<size_t>(18, 1));
}

TEST_F(ExpertRun, TheForecastKnowsBlocksOfBothKinds) {
  const Context ctx{.pool = pool_};
  const Recipe recipe = testing::recipe_of("gptq", 3);
  const Forecast forecast =
      forecast_quantization(open_model(folder_ / "all"), recipe, options("out"), ctx);
  EXPECT_EQ(forecast.bytes, run("all", options("out"), recipe).bytes);
  EXPECT_GT(forecast.seconds, 0);
  EXPECT_GT(forecast.peak_memory_bytes, forecast.bytes);
}

TEST_F(ExpertRun, RecipesNameExpertsByPatternAndRoutersByRole) {
  const Recipe recipe = parse_recipe(
      R"({"rules": [{"roles": ["router"], "method": "gptq", "bits": 8},
                    {"name": "experts\\.[01]\\.down", "keep": true},
                    {"name": "experts\\.", "method": "rtn", "bits": 2},
                    {"roles": ["block"], "method": "gptq", "bits": 4}]})",
      "test");
  const QuantizeReport report = run("all", options("out"), recipe);
  const ModelFiles files = open_model(folder_ / "all");
  EXPECT_EQ(row_of(report, files, "layers.1.mlp.router").method, "gptq");
  EXPECT_EQ(row_of(report, files, "layers.3.mlp.experts.1.down").method, "keep");
  EXPECT_EQ(row_of(report, files, "layers.3.mlp.experts.2.down").method, "rtn");
  EXPECT_EQ(row_of(report, files, "layers.1.mlp.experts.7.gate").method, "rtn");
  EXPECT_EQ(row_of(report, files, "layers.2.mlp.gate").method, "gptq");
  EXPECT_EQ(tokens_of(report, "layers.1.mlp.in"), 4 * 48);
  EXPECT_EQ(Model::load(folder_ / "out")->config().experts, kExperts);
}

}  // namespace
}  // namespace twofold

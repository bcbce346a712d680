// Synthetic models, their bench, and what doctor says of models.
#include "pipeline/bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

#include "kernels/select.h"
#include "pipeline/doctor.h"
#include "pipeline/quantize_model.h"
#include "pipeline/synthetic.h"
#include "support.h"

namespace twofold {
namespace {

using testing::error_of;
using testing::TempFolder;

/// Small, with sides that are no multiples of 64 and a tied head if wanted.
SyntheticShape small_shape(bool tied) {
  return {.name = "small",
          .help = "",
          .hidden = 144,
          .layers = 2,
          .heads = 6,
          .kv_heads = 2,
          .intermediate = 400,
          .vocab_size = 272,
          .tied_head = tied};
}

std::shared_ptr<const Model> small_model(const TempFolder& folder, const std::string& format,
                                         bool tied, const Context& ctx) {
  const SyntheticOptions options{.format = format, .output = folder / "model", .force = true};
  write_synthetic_model(small_shape(tied), options, ctx);
  return Model::load(folder / "model");
}

TEST(Synthetic, EveryFormatGivesAModelWithFiniteLogitsOfModerateSize) {
  const TempFolder folder;
  ThreadPool pool(2);
  const Context ctx{.pool = pool, .isa = select_isa(), .activations = Activations::kInt8};
  for (const FormatFamily& family : all_format_families()) {
    for (const std::string& format : family.example_names()) {
      const auto model = small_model(folder, format, format.size() % 2 == 0, ctx);
      const ModelConfig& config = model->config();
      const std::vector<int32_t> ids = {1, 2, 271};
      const SequenceInput input{ids};
      const auto hidden = model->forward({&input, 1}, ctx);
      std::vector<float> logits(static_cast<size_t>(config.vocab_size));
      model->logits({hidden.data() + 2 * config.hidden, 1, config.hidden},
                    {logits.data(), 1, config.vocab_size}, ctx);
      double squares = 0;
      for (const float logit : logits) squares += double{logit} * logit;
      const double size = std::sqrt(squares / static_cast<double>(logits.size()));
      EXPECT_GT(size, 0.1) << format;
      EXPECT_LT(size, 10) << format;
    }
  }
}

TEST(Synthetic, InspectSplitsTheBytesOfEveryFormat) {
  const TempFolder folder;
  ThreadPool pool(1);
  for (const FormatFamily& family : all_format_families()) {
    for (const std::string& format : family.example_names()) {
      const auto model = small_model(folder, format, true, {.pool = pool});
      for (const MatrixReport& matrix : inspect_model(model->files()).matrices) {
        ASSERT_TRUE(matrix.kinds);
        EXPECT_EQ(matrix.kinds->sum(), matrix.bytes) << format << " " << matrix.name;
        EXPECT_EQ(matrix.kinds->numbers > 0, !matrix.quantized) << format << " " << matrix.name;
      }
    }
  }
}

TEST(Synthetic, FolderIsOneThatInspectReads) {
  const TempFolder folder;
  ThreadPool pool(1);
  const auto model = small_model(folder, "r16-b3", false, {.pool = pool});
  const QuantizeReport report = inspect_model(model->files());
  EXPECT_EQ(report.matrices.size(), 2u + 2 * 7);
  for (const MatrixReport& matrix : report.matrices) EXPECT_EQ(matrix.method, "synthetic");
  EXPECT_EQ(report.parameters,
            2 * (2 * 144 * 144 + 2 * 48 * 144 + 3 * 144 * 400 + 2 * 144) + 2 * 272 * 144 + 144);
}

TEST(Synthetic, ShapesAreThoseOfTheirModels) {
  ThreadPool pool(1);
  for (const SyntheticShape& shape : all_synthetic_shapes()) {
    EXPECT_EQ(&find_synthetic_shape(shape.name), &shape);
    for (const int64_t side : {shape.hidden, shape.intermediate, shape.vocab_size,
                               shape.hidden / shape.heads * shape.kv_heads}) {
      EXPECT_EQ(side % 16, 0) << shape.name;
    }
    EXPECT_EQ(shape.hidden % shape.heads, 0) << shape.name;
    EXPECT_EQ(shape.heads % shape.kv_heads, 0) << shape.name;
  }
  EXPECT_NE(error_of([] { find_synthetic_shape("2b"); }, ErrorCode::kInvalidArgument).find("1.1b"),
            std::string::npos);
  const TempFolder folder;
  EXPECT_NE(error_of([&] { small_model(folder, "r16-u9", false, {.pool = pool}); },
                     ErrorCode::kInvalidArgument)
                .find("r16-u9"),
            std::string::npos);
  EXPECT_TRUE(folder.names().empty());
}

TEST(Doctor, TrafficNamesEveryMatrixAndCountsWhatATokenReads) {
  ThreadPool pool(1);
  const TempFolder folder;
  std::vector<std::shared_ptr<const Model>> models = {
      Model::load(testing::tiny_model("gpt2")),
      Model::load(testing::tiny_model("gpt2-untied")),
      Model::load(testing::stories()),
      Model::load(testing::tiny_model("mixtral")),
      Model::load(testing::tiny_model("qwen3-moe-dense-layers")),
      Model::load(testing::tiny_model("phi3")),
      small_model(folder, "r16-u4-g128", true, {.pool = pool}),
      small_model(folder, "r16-rt3", false, {.pool = pool})};
  for (const auto& model : models) {
    const std::string path = model->files().path.string();
    for (const Isa isa : all_isas()) {
      const ModelTraffic traffic = model_traffic(
          model->files(), {.pool = pool, .isa = isa, .activations = Activations::kInt8});
      EXPECT_EQ(traffic.bytes_per_token(), model->bytes_per_token()) << path;
      size_t at = 0;
      for (const Slot& slot : model->files().slots) {
        if (slot.shape.size() != 2) continue;
        ASSERT_LT(at, traffic.matrices.size());
        const MatrixKernel& matrix = traffic.matrices[at++];
        EXPECT_EQ(matrix.name, slot.name);
        const Kernel* kernel =
            slot.format.empty() ? nullptr : select_kernel(parse_format(slot.format), 1, isa);
        EXPECT_EQ(matrix.one_row, kernel != nullptr ? kernel->name : kDecodedPanels) << slot.name;
        EXPECT_LE(matrix.fast, kernel != nullptr && kernel->isa > Isa::kScalar) << slot.name;
      }
      EXPECT_EQ(at, traffic.matrices.size());
    }
  }
}

TEST(Doctor, PredictionIsTheSumOfWhatEachMatrixWaitsFor) {
  std::vector<MatrixKind> kinds(2);
  kinds[0].bytes_per_token = 300;
  kinds[1].bytes_per_token = 100;
  const TokenSpeed speed = predict_speed(kinds, 100, std::vector<double>{200, 20});
  EXPECT_DOUBLE_EQ(speed.memory_tokens_per_second, 100.0 / 400);
  EXPECT_DOUBLE_EQ(speed.tokens_per_second, 1 / (300.0 / 100 + 100.0 / 20));
  ASSERT_EQ(speed.kinds.size(), 2u);
  EXPECT_EQ(bound_name(speed.kinds[0]), "memory");
  EXPECT_EQ(bound_name(speed.kinds[1]), "instructions");
}

TEST(Doctor, PredictionIsNeverAboveWhatMemoryAllows) {
  ThreadPool pool(2);
  const TempFolder folder;
  const Context ctx{.pool = pool, .isa = select_isa(), .activations = Activations::kInt8};
  std::vector<std::shared_ptr<const Model>> models = {
      Model::load(testing::tiny_model("gpt2")),           // stored [in, out]
      Model::load(testing::tiny_model("llama-q4.gguf")),  // rows of heads permuted
      Model::load(testing::tiny_model("mixtral")),       Model::load(testing::stories()),
      small_model(folder, "r16-tr2", true, ctx),         small_model(folder, "r16-b3", false, ctx)};
  for (const auto& model : models) {
    const ModelTraffic traffic = model_traffic(model->files(), ctx);
    const std::vector<double> rates = measure_kernel_rates(model->files(), traffic.kinds, ctx);
    double bytes = 0;
    for (const MatrixKind& kind : traffic.kinds) bytes += kind.bytes_per_token;
    EXPECT_NEAR(bytes / static_cast<double>(traffic.bytes_per_token()), 1, 1e-3);
    for (const double rate : rates) EXPECT_GT(rate, 0);
    for (const double bandwidth : {1e6, 1e9, 1e15}) {
      const TokenSpeed speed = predict_speed(traffic.kinds, bandwidth, rates);
      EXPECT_GT(speed.tokens_per_second, 0);
      EXPECT_LE(speed.tokens_per_second, speed.memory_tokens_per_second);
      EXPECT_NEAR(speed.memory_tokens_per_second * bytes / bandwidth, 1, 1e-9);
    }
  }
}

TEST(Doctor, ATrellisIsFarSlowerWithoutItsInstructions) {
  if (select_isa() == Isa::kScalar) GTEST_SKIP() << "nothing above the baseline";
  ThreadPool pool(1);
  const TempFolder folder;
  const auto model = small_model(folder, "r16-tr2", false, {.pool = pool});
  const auto rate = [&](Isa isa) {
    const Context ctx{.pool = pool, .isa = isa, .activations = Activations::kInt8};
    const ModelTraffic traffic = model_traffic(model->files(), ctx);
    const auto kind = std::ranges::find(traffic.kinds, "r16-tr2", &MatrixKind::format);
    return measure_kernel_rates(model->files(), {kind, kind + 1}, ctx).front();
  };
  EXPECT_LT(3 * rate(Isa::kScalar), rate(select_isa()));
}

TEST(Doctor, MachineHasAReasonForItsThreads) {
  ThreadPool pool(2);
  const MachineReport machine = diagnose_machine({.pool = pool, .isa = Isa::kScalar});
  EXPECT_EQ(machine.choice.threads, default_threads());
  EXPECT_LE(machine.choice.threads, machine.choice.cores);
  EXPECT_LE(machine.choice.cores, machine.choice.usable);
  EXPECT_LE(machine.choice.usable, machine.choice.online);
  ASSERT_EQ(machine.speeds.size(), 2u);
  EXPECT_EQ(machine.speeds[0].threads, 1);
  EXPECT_EQ(machine.speeds[1].threads, 2);
  EXPECT_EQ(machine.bound_cpus.size(), 2u);
  EXPECT_EQ(machine.capped, machine.offered.back() != Isa::kScalar);
  for (size_t i = 1; i < machine.caches.size(); ++i) {
    EXPECT_GE(machine.caches[i].bytes, machine.caches[i - 1].bytes);
  }
}

TEST(Bench, RowsAreTheProductOfTheListsAndTheirFiguresFit) {
  const TempFolder folder;
  ThreadPool pool(1);
  const Context ctx{.pool = pool};
  const auto model = small_model(folder, "r16-u4-g128", false, ctx);
  const BenchRequest request{.prompts = {5, 0, 600},
                             .generated = {3},
                             .depths = {0, 520},
                             .threads = {2, 1},
                             .repetitions = 3};
  std::vector<std::string> seen;
  const auto rows = run_bench(*model, "m", request, ctx,
                              [&](const BenchRow& row) { seen.push_back(row.test()); });
  const std::vector<std::string> tests = {"pp5",        "pp600",        "tg3",
                                          "pp5 @ d520", "pp600 @ d520", "tg3 @ d520"};
  ASSERT_EQ(rows.size(), 2 * tests.size());
  const ModelTraffic traffic = model_traffic(model->files(), ctx);
  for (size_t i = 0; i < rows.size(); ++i) {
    const BenchRow& row = rows[i];
    EXPECT_EQ(row.test(), tests[i % tests.size()]);
    EXPECT_EQ(seen[i], row.test());
    EXPECT_EQ(row.threads, i < tests.size() ? 2 : 1);
    EXPECT_EQ(row.format, "r16-u4-g128");
    EXPECT_EQ(row.samples.size(), 3u);
    EXPECT_EQ(row.bytes_per_token, traffic.bytes_per_token());
    EXPECT_GT(row.tokens_per_second, 0);
    EXPECT_GT(row.peak_memory_bytes, 0);
    // A generated token reads everything; of a prompt, 512 tokens share one reading.
    const double passes = row.prompt > 512 ? 2 : 1;
    const double bytes = row.generated > 0 ? static_cast<double>(traffic.bytes_per_token())
                                           : (passes * static_cast<double>(traffic.block_bytes) +
                                              static_cast<double>(traffic.head_bytes)) /
                                                 static_cast<double>(row.prompt);
    EXPECT_NEAR(row.bytes_per_second / row.tokens_per_second / bytes, 1, 1e-9) << row.test();
    EXPECT_NEAR(row.bandwidth_share * row.read_bytes_per_second / row.bytes_per_second, 1, 1e-9);
    EXPECT_NEAR(row.peak_share * row.integer_peak / row.operations_per_second, 1, 1e-9);
  }
  const double mean = std::accumulate(rows[0].samples.begin(), rows[0].samples.end(), 0.0) / 3;
  EXPECT_NEAR(rows[0].tokens_per_second / mean, 1, 1e-12);
}

TEST(Bench, UsualLengthsAreCutToTheContextAndLengthsAskedForAreNot) {
  ThreadPool pool(1);
  std::string log;
  const Context ctx{.pool = pool, .log = [&](std::string_view line) { log += line; }};
  const auto model = Model::load(testing::shakespeare());  // 64 positions
  const auto rows = run_bench(*model, "m", {.depths = {24}, .repetitions = 1}, ctx);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].prompt, 40);
  EXPECT_EQ(rows[1].generated, 40);
  EXPECT_NE(log.find("--prompt 40 in place of 512"), std::string::npos) << log;
  EXPECT_NE(log.find("--generate 40 in place of 128"), std::string::npos) << log;
  error_of([&] { run_bench(*model, "m", {.prompts = {65}, .generated = {0}}, ctx); },
           ErrorCode::kInvalidArgument);
}

TEST(Bench, TablesHaveARowPerTest) {
  BenchRow row;
  row.model = "a,\"b\"";
  row.format = "r16-t4";
  row.prompt = 512;
  row.samples = {1, 2};
  const std::vector<BenchRow> rows = {row, row};
  std::istringstream csv(bench_csv(rows));
  std::string titles, first, second, end;
  std::getline(csv, titles);
  std::getline(csv, first);
  std::getline(csv, second);
  EXPECT_FALSE(std::getline(csv, end));
  EXPECT_TRUE(first.starts_with("\"a,\"\"b\"\"\",r16-t4,")) << first;
  EXPECT_EQ(first, second);
  EXPECT_EQ(std::ranges::count(titles, ',') + 1, std::ssize(to_json(row)));
  const std::string table = bench_markdown(rows);
  EXPECT_EQ(std::ranges::count(table, '\n'), 4);
  EXPECT_NE(table.find("pp512"), std::string::npos);
}

TEST(Bench, RefusesWhatCannotBeMeasured) {
  const TempFolder folder;
  ThreadPool pool(1);
  const std::atomic<bool> cancel{true};
  const auto model = small_model(folder, "r16-t4", true, {.pool = pool});
  const auto bench = [&](const BenchRequest& request, const std::atomic<bool>* flag = nullptr) {
    run_bench(*model, "m", request, {.pool = pool, .cancel = flag});
  };
  error_of([&] { bench({.prompts = {0}, .generated = {0}}); }, ErrorCode::kInvalidArgument);
  error_of([&] { bench({.repetitions = 0}); }, ErrorCode::kInvalidArgument);
  const std::string beyond =
      error_of([&] { bench({.depths = {kSyntheticContext}}); }, ErrorCode::kInvalidArgument);
  EXPECT_NE(beyond.find("32768"), std::string::npos) << beyond;
  error_of([&] { bench({}, &cancel); }, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace twofold

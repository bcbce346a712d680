// Comparing: rows as they are asked for, figures equal to those of quantize and evaluate, what is
// kept between calls, and what is refused.
#include "pipeline/compare.h"

#include <algorithm>

#include "engine/load_tokenizer.h"
#include "engine/model.h"
#include "io/file.h"
#include "support.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::read_file;
using testing::set_number;
using testing::shakespeare;
using testing::TempFolder;
using testing::write_file;

std::vector<std::string> names_of(const std::vector<CompareRow>& rows) {
  std::vector<std::string> names;
  for (const CompareRow& row : rows) names.push_back(row.name);
  return names;
}

std::vector<CompareRow> parse(const std::string& list, const std::vector<double>& bits = {}) {
  const std::vector<std::string> lists = {list};
  return parse_compare_rows(lists, bits, {});
}

TEST(CompareRows, MethodsWithoutBitsHaveARowForEachOfThem) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(names_of(parse("rtn,pot:5", {2, 3})), (Names{"rtn:2", "rtn:3", "pot:5"}));
  for (const Method& method : all_methods()) {
    const auto rows = parse(std::string(method.name));
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(rows[0].name, fmt::format("{}:{}", method.name, method.default_bits));
    EXPECT_EQ(rows[0].series, method.name);
  }
}

TEST(CompareRows, SettingsMayHoldCommas) {
  const auto rows = parse("pot:range=-16,16,scale-per=tensor,rtn:3:group=64,eps=0,apot");
  ASSERT_EQ(rows.size(), 3u);
  const MethodRequest& pot = rows[0].recipe.rules[0].request;
  EXPECT_EQ(pot.params.at("range"), "-16,16");
  EXPECT_EQ(pot.params.at("scale-per"), "tensor");
  EXPECT_EQ(rows[1].name, "rtn:3:group=64,eps=0");
  EXPECT_EQ(rows[1].series, "rtn:group=64,eps=0");
  EXPECT_EQ(rows[1].recipe.rules[0].request.group, 64);
  EXPECT_EQ(rows[2].series, "apot");
}

TEST(CompareRows, PartsCanBeReplaced) {
  const auto rows = parse("rtn:4:grid=pot");
  EXPECT_EQ(rows[0].recipe.rules[0].request.grid, "pot");
}

TEST(CompareRows, NonsenseIsRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> cases = {{"nonsense", "rtn"},
                                                                  {"rtn:99", "16"},
                                                                  {"rtn:3x", "3x"},
                                                                  {"rtn:3:group", "KEY"},
                                                                  {"rtn:3:group=7", "group"},
                                                                  {"rtn:3:colour=red", "colour"},
                                                                  {"rtn:3,rtn:3", "twice"},
                                                                  {"rtn:3:eps=0,eps=1", "twice"},
                                                                  {"rtn,", "expected one of"},
                                                                  {"rtn:3:grid=zebra", "grid"}};
  for (const auto& [list, part] : cases) {
    const std::string message = error_of([&] { parse(list); }, ErrorCode::kInvalidArgument);
    EXPECT_NE(message.find(part), std::string::npos) << list << ": " << message;
  }
}

ComparedRow row_with(const std::string& name, int64_t bytes, double kl) {
  ComparedRow row{.name = name, .series = name, .bytes = bytes};
  row.score = EvalResult{};
  row.score->divergence = Divergence{.kl_mean = kl};
  return row;
}

TEST(CompareMarks, RowsAreBeatenByTheBestRowThatIsNoLarger) {
  std::vector<ComparedRow> rows = {row_with("small", 10, 0.5), row_with("good", 20, 0.1),
                                   row_with("bad", 20, 0.6), row_with("large", 30, 0.2),
                                   row_with("twin", 20, 0.1)};
  rows.push_back({.name = "failed", .series = "failed", .bytes = 1});
  mark_beaten(rows);
  std::vector<std::string> beaten;
  for (const ComparedRow& row : rows) beaten.push_back(row.beaten_by);
  EXPECT_EQ(beaten, (std::vector<std::string>{"", "", "good", "good", "", ""}));
}

class Compare : public ::testing::Test {
 protected:
  Compare() : source(open_model(shakespeare())) {
    const auto tokenizer = load_tokenizer(source);
    const std::string text = read_file(shakespeare() / "input.txt").substr(892315, 2000);
    request.ids = tokenizer->encode(text);
    request.text_bytes = std::ssize(text);
    request.text_name = "validation";
    request.score.protocol = "nanogpt-full";
    request.quantize.output = folder / "out";
    request.quantize.command_line = "twofold compare";
  }

  Comparison run() { return compare_models(source, request, ctx); }
  std::string file(const std::string& name) { return read_file(folder / "out" / name); }

  TempFolder folder;
  ThreadPool pool{2, false};
  Context ctx{.pool = pool, .isa = select_isa()};
  ModelFiles source;
  CompareRequest request;
};

TEST_F(Compare, RowsEqualQuantizingAndScoringByHand) {
  request.rows = parse("rtn:3:group=64");
  const Comparison comparison = run();
  quantize_model(source, request.rows[0].recipe, {.output = folder / "by-hand"}, ctx);
  const auto by_hand = Model::load(folder / "by-hand");
  const auto reference = Model::load(shakespeare());
  const std::vector<int32_t> texts[] = {request.ids};
  const EvalResult expected = evaluate(*by_hand, reference.get(), texts, request.text_bytes,
                                       request.score, {.config = source.config}, ctx);
  const ComparedRow& row = comparison.rows.at(0);
  EXPECT_EQ(row.bytes, static_cast<int64_t>(fs::file_size(folder / "by-hand/model.safetensors")));
  EXPECT_EQ(row.score->nats_per_token, expected.nats_per_token);
  EXPECT_EQ(row.score->divergence->kl_mean, expected.divergence->kl_mean);
  EXPECT_EQ(row.score->divergence->top1_agreement, expected.divergence->top1_agreement);
  EXPECT_EQ(row.score->token_sha256, expected.token_sha256);
  const QuantizeReport report = inspect_model(by_hand->files());
  EXPECT_EQ(row.bits_per_weight_total, report.bits_per_weight_total);
  const MatrixReport& block = report.matrices.at(2);  // behind the tables; all blocks have one rate
  EXPECT_NEAR(*row.bits_per_weight, block.bits_per_weight, 0.3);
  EXPECT_EQ(comparison.source.score->nats_per_token,
            evaluate(*reference, nullptr, texts, request.text_bytes, request.score,
                     {.config = source.config}, ctx)
                .nats_per_token);
}

TEST_F(Compare, Int8ActivationsAreThoseOfRowsAndNotOfTheModelItself) {
  request.rows = parse("rtn:3");
  const Comparison exact = run();
  request.activations = Activations::kInt8;
  request.keep_models = true;
  const Comparison rounded = run();
  EXPECT_EQ(rounded.activations, "int8");
  EXPECT_EQ(rounded.source.score->nats_per_token, exact.source.score->nats_per_token);
  EXPECT_NE(rounded.rows[0].score->nats_per_token, exact.rows[0].score->nats_per_token);
  const auto model = Model::load(folder / "out/models/rtn-3");
  const auto reference = Model::load(shakespeare());
  const std::vector<int32_t> texts[] = {request.ids};
  Context int8 = ctx;
  int8.activations = Activations::kInt8;
  const EvalResult expected = evaluate(*model, reference.get(), texts, request.text_bytes,
                                       request.score, {.config = source.config}, int8);
  EXPECT_EQ(rounded.rows[0].score->nats_per_token, expected.nats_per_token);
  EXPECT_EQ(rounded.rows[0].score->divergence->kl_mean, expected.divergence->kl_mean);
}

TEST_F(Compare, TwoDigitsOfActivationsAreAsGoodAsFloats) {
  const fs::path output = folder / "model";
  quantize_model(source, parse("rtn:4")[0].recipe, {.output = output}, ctx);
  const Json written = parse_json(read_file(output / "config.json"), "config.json");
  const auto divergence = [&](int digits) {
    Json config = written;
    for (Json& tensor : config["quantization_config"]["tensors"]) {
      tensor["activation_digits"] = digits;
    }
    write_file(output / "config.json", config.dump());
    const auto model = Model::load(output), exact = Model::load(output);
    const std::vector<int32_t> texts[] = {request.ids};
    Context int8 = ctx;
    int8.activations = Activations::kInt8;
    return evaluate(*model, exact.get(), texts, request.text_bytes, request.score,
                    {.config = source.config}, int8)
        .divergence->kl_mean;
  };
  const double one = divergence(1), two = divergence(2);
  EXPECT_GT(one, 1e-6);
  EXPECT_LT(two, one / 50);
  EXPECT_NE(error_of([&] { divergence(3); }, ErrorCode::kCorruptFile).find("activation_digits"),
            std::string::npos);
}

TEST_F(Compare, FilesHoldEveryRow) {
  request.rows = parse("rtn,pot", {3, 4});
  const Comparison comparison = run();
  const Json json = parse_json(file("compare.json"), "compare.json");
  ASSERT_EQ(json.at("rows").size(), 4u);
  for (const ComparedRow& row : comparison.rows) {
    EXPECT_NE(file("compare.md").find(fmt::format("| {} |", row.name)), std::string::npos);
    EXPECT_NE(file("compare.csv").find(fmt::format("\n{},", row.name)), std::string::npos);
    EXPECT_GT(row.peak_memory_bytes.value_or(1 << 30), 1 << 20);
  }
  EXPECT_NE(file("compare.svg").find("</svg>"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "out/models"));
  const std::string csv = file("compare.csv");
  const auto columns = [](std::string_view line) { return std::ranges::count(line, ','); };
  size_t begin = 0;
  for (size_t end = csv.find('\n'); end != std::string::npos; end = csv.find('\n', begin)) {
    EXPECT_EQ(columns(csv.substr(begin, end - begin)), columns(csv.substr(0, csv.find('\n'))));
    begin = end + 1;
  }
}

TEST_F(Compare, FinishedRowsAreNotMadeAgainAndChangedOnesAre) {
  request.rows = parse("rtn:3,rtn:4");
  const Comparison first = run();
  const fs::path kept = folder / "out/rows/rtn-3.json";
  const auto time = fs::last_write_time(kept);
  request.rows = parse("rtn:3,rtn:4,pot:4");
  const Comparison second = run();
  EXPECT_EQ(fs::last_write_time(kept), time);
  EXPECT_EQ(to_json(second.rows[0])["score"], to_json(first.rows[0])["score"]);
  EXPECT_EQ(second.rows.size(), 3u);
  request.score.max_windows = 3;
  EXPECT_EQ(run().rows[0].score->windows, 3);
  EXPECT_NE(fs::last_write_time(kept), time);
}

TEST_F(Compare, InterruptedComparisonGoesOn) {
  request.rows = parse("rtn:3,rtn:4,pot:4");
  const Json whole = to_json(run());
  fs::remove_all(folder / "out");
  std::atomic<bool> cancel = false;
  Context interrupted = ctx;
  interrupted.cancel = &cancel;
  interrupted.progress = [&](std::string_view what, int64_t, int64_t) {
    if (what == "3/4 rtn:4 evaluate") cancel = true;
  };
  error_of([&] { compare_models(source, request, interrupted); }, ErrorCode::kCancelled);
  EXPECT_TRUE(fs::exists(folder / "out/rows/rtn-3.json"));
  EXPECT_TRUE(fs::exists(folder / "out/models/rtn-4")) << "quantized, not yet scored";
  EXPECT_FALSE(fs::exists(folder / "out/rows/pot-4.json"));

  std::vector<std::string> steps;
  Context watching = ctx;
  watching.progress = [&](std::string_view what, int64_t, int64_t) {
    if (steps.empty() || steps.back() != what) steps.emplace_back(what);
  };
  const Json resumed = to_json(compare_models(source, request, watching));
  EXPECT_EQ(steps, (std::vector<std::string>{"3/4 rtn:4 evaluate", "4/4 pot:4 quantize",
                                             "4/4 pot:4 evaluate"}));
  for (size_t i = 0; i < 3; ++i) {
    for (const char* key : {"bytes", "bits_per_weight", "beaten_by"}) {
      EXPECT_EQ(resumed["rows"][i][key], whole["rows"][i][key]);
    }
    EXPECT_EQ(resumed["rows"][i]["score"]["kl_mean"], whole["rows"][i]["score"]["kl_mean"]);
  }
}

TEST_F(Compare, NoResumeMakesRowsAgain) {
  request.rows = parse("rtn:3");
  run();
  const fs::path row = folder / "out/rows/rtn-3.json";
  const auto time = fs::last_write_time(row);
  request.resume = false;
  run();
  EXPECT_NE(fs::last_write_time(row), time);
}

TEST_F(Compare, ARowThatFailsIsRecordedAndTriedAgainWhileOthersAreKept) {
  const fs::path text = folder / "text.txt";
  write_file(text, read_file(shakespeare() / "input.txt").substr(0, 20000));
  request.quantize.calibration = CalibrationOptions{.files = {text}, .samples = 4, .context = 64};
  // Scales are binary16: 2 bits step by a third of the range, 8 bits by 1 / 255 of it.
  fs::copy(shakespeare(), folder / "steep");
  set_number(folder / "steep", "transformer.h.2.attn.c_attn.weight", 77, 1e6f);
  source = open_model(folder / "steep");
  request.rows = parse("gptq:2,gptq:8");
  const Comparison first = run();
  EXPECT_FALSE(first.rows[0].score);
  EXPECT_NE(first.rows[0].error.find("binary16"), std::string::npos) << first.rows[0].error;
  EXPECT_TRUE(first.rows[1].score) << first.rows[1].error;
  // The time of a text says nothing, its bytes do.
  fs::last_write_time(text, fs::last_write_time(text) + std::chrono::hours(1));
  const auto steps = [&] {
    std::string made;
    Context watching = ctx;
    watching.progress = [&](std::string_view what, int64_t, int64_t) { made += what; };
    compare_models(source, request, watching);
    return made;
  };
  const std::string second = steps();
  EXPECT_NE(second.find("2/3"), std::string::npos) << second;
  EXPECT_EQ(second.find("3/3"), std::string::npos) << second;
  write_file(text, read_file(shakespeare() / "input.txt").substr(100, 20000));
  EXPECT_NE(steps().find("3/3"), std::string::npos);
}

TEST_F(Compare, AKeptModelThatIsGoneIsMadeAgain) {
  request.rows = parse("rtn:3");
  request.keep_models = true;
  run();
  ASSERT_TRUE(fs::exists(folder / "out/models/rtn-3"));
  fs::remove_all(folder / "out/models/rtn-3");
  run();
  EXPECT_TRUE(fs::exists(folder / "out/models/rtn-3/model.safetensors"));
}

TEST_F(Compare, PeersAreScoredByTheSameCodeWithTheBytesOfTheirFile) {
  quantize_model(source, parse("rtn:3")[0].recipe, {.output = folder / "other-tool"}, ctx);
  import_model(source, {.output = folder / "halved", .dtype = DType::kF16}, ctx);
  write_file(folder / "halved.peer.json",
             R"({"name": "converted", "bytes": 123456, "block_bytes": 98304})");
  request.rows = parse("rtn:3");
  request.peers = {folder / "other-tool", folder / "halved"};
  const Comparison comparison = run();
  ASSERT_EQ(comparison.rows.size(), 3u);
  const ComparedRow &peer = comparison.rows[0], &converted = comparison.rows[1],
                    &ours = comparison.rows[2];
  EXPECT_EQ(peer.name, "other-tool");
  EXPECT_TRUE(peer.peer);
  EXPECT_EQ(peer.bytes, ours.bytes);
  EXPECT_EQ(peer.score->divergence->kl_mean, ours.score->divergence->kl_mean);
  EXPECT_EQ(converted.name, "converted");
  EXPECT_EQ(converted.bytes, 123456);
  EXPECT_EQ(*converted.bits_per_weight, 1.0) << "4 blocks of 12 x 128 x 128 weights";
  EXPECT_LT(converted.score->divergence->kl_mean, 1e-4);
}

TEST_F(Compare, WrongInputIsRefusedBeforeAnythingIsMade) {
  request.rows = parse("rtn:3");
  const auto refused = [&](const std::string& part) {
    const std::string message = error_of([&] { run(); }, ErrorCode::kInvalidArgument);
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(folder / "out/rows/rtn-3.json"));
  };
  request.peers = {testing::tiny_model("gpt2")};
  refused("vocabulary");
  request.peers = {shakespeare(), shakespeare()};
  refused("two rows");
  request.peers = {};
  request.score.window = 65;
  refused("its context has 64 tokens");
  EXPECT_TRUE(folder.names().empty());
  request.score.window = 0;
  fs::create_directory(folder / "out");
  write_file(folder / "out/letter.txt", "mine");
  refused("comparison");
  EXPECT_EQ(read_file(folder / "out/letter.txt"), "mine");
  request.rows = {};
  refused("at least one");
}

TEST_F(Compare, DamagedRowIsNamed) {
  request.rows = parse("rtn:3");
  run();
  write_file(folder / "out/rows/rtn-3.json", "{");
  const std::string message = error_of([&] { run(); }, ErrorCode::kCorruptFile);
  EXPECT_NE(message.find("rtn-3.json"), std::string::npos) << message;
}

}  // namespace
}  // namespace twofold

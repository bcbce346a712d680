// bench and doctor, through the real program.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "base/cpu.h"
#include "base/json.h"
#include "commands.h"
#include "io/temporary_folder.h"
#include "run_program.h"
#include "support/paths.h"

namespace twofold {
namespace {

using testing::run_twofold;
using testing::RunResult;
using testing::TemporaryFolder;

std::string tiny_model() { return testing::test_data("tiny-models") / "gpt2"; }

/// "a", "b[].c": the keys of an object and of the objects in its lists.
std::set<std::string> keys_of(const Json& json) {
  std::set<std::string> keys;
  for (const auto& [key, value] : json.items()) {
    keys.insert(key);
    if (!value.is_array()) continue;
    for (const Json& element : value) {
      if (!element.is_object()) continue;
      for (const auto& item : element.items()) keys.insert(key + "[]." + item.key());
    }
  }
  return keys;
}

std::set<std::string> documented_keys(std::string_view command) {
  const auto commands = cli::all_commands();
  std::set<std::string> keys;
  for (const auto& key : std::ranges::find(commands, command, &cli::Command::name)->json_keys) {
    keys.insert(key.key);
  }
  return keys;
}

Json json_of(const RunResult& result) {
  EXPECT_EQ(result.status, 0) << result.err;
  return parse_json(result.out, "standard output");
}

TEST(CliDoctor, JsonHasTheDocumentedKeysAndTextEveryMatrix) {
  const Json json = json_of(run_twofold({"doctor", tiny_model(), "--json"}));
  EXPECT_EQ(keys_of(json), documented_keys("doctor"));
  const RunResult text = run_twofold({"doctor", tiny_model(), "-t", "1"});
  EXPECT_EQ(text.status, 0) << text.err;
  for (const Json& matrix : json.at("matrices")) {
    EXPECT_NE(text.out.find(matrix.at("name").get<std::string>()), std::string::npos) << matrix;
    EXPECT_NE(text.out.find(matrix.at("kernel").get<std::string>()), std::string::npos) << matrix;
  }
  for (const Isa isa : all_isas()) {
    EXPECT_NE(text.out.find(fmt::format("{} {}", isa_name(isa), cpu_has(isa) ? "yes" : "no")),
              std::string::npos)
        << text.out;
  }
}

TEST(CliDoctor, EveryKernelIsBoundByMemoryOrInstructionsAndSlowsThePrediction) {
  const Json json = json_of(run_twofold({"doctor", tiny_model(), "-t", "1", "--json"}));
  ASSERT_FALSE(json.at("kernels").empty());
  for (const Json& kernel : json.at("kernels")) {
    EXPECT_GT(kernel.at("cached_bytes_per_second").get<double>(), 0);
    const std::string bound = kernel.at("bound_by");
    EXPECT_TRUE(bound == "memory" || bound == "instructions") << bound;
  }
  for (const Json& speed : json.at("predicted")) {
    EXPECT_LE(speed.at("tokens_per_second").get<double>(),
              speed.at("memory_tokens_per_second").get<double>());
  }
}

TEST(CliDoctor, RefusesADamagedTrellisAsGenerateDoes) {
  const TemporaryFolder folder;
  const std::string model = folder.file("out");
  const RunResult made = run_twofold({"quantize", testing::source_dir() / "models/shakespeare-char",
                                      "-o", model, "--method", "trellis", "--bits", "2",
                                      "--rounding", "nearest", "--effort", "fast", "--quiet"});
  ASSERT_EQ(made.status, 0) << made.err;
  const std::filesystem::path path = model + "/model.safetensors";
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  uint64_t header = 0;
  file.read(reinterpret_cast<char*>(&header), sizeof(header));
  std::string text(header, ' ');
  file.read(text.data(), static_cast<std::streamsize>(header));
  const Json tensors = Json::parse(text);
  const auto damaged = std::ranges::find_if(tensors.items(), [](const auto& tensor) {
    return tensor.key().find("c_proj") != std::string::npos && tensor.value()["dtype"] == "U8";
  });
  ASSERT_NE(damaged, tensors.items().end());
  const auto end = (*damaged).value()["data_offsets"][1].get<uint64_t>();
  file.seekp(static_cast<std::streamoff>(8 + header + end - 128 + 16));  // level 0, in the tail
  file.put('\x55');
  file.close();
  const RunResult generate = run_twofold({"generate", model, "-p", "A", "-n", "3"});
  const RunResult doctor = run_twofold({"doctor", model});
  EXPECT_EQ(generate.status, 1);
  EXPECT_EQ(doctor.status, 1);
  EXPECT_TRUE(doctor.out.empty()) << doctor.out;
  EXPECT_EQ(doctor.err, generate.err);
  EXPECT_NE(doctor.err.find("checksum"), std::string::npos) << doctor.err;
}

TEST(CliDoctor, SaysThatTheInstructionSetIsCapped) {
  const RunResult result =
      run_twofold({"doctor", "-t", "1"}, {.environment = {"TWOFOLD_ISA=scalar"}});
  EXPECT_EQ(result.status, 0) << result.err;
  const bool capped =
      std::ranges::any_of(all_isas(), [](Isa isa) { return isa > Isa::kScalar && cpu_has(isa); });
  EXPECT_EQ(result.out.find("used: scalar (TWOFOLD_ISA)") != std::string::npos, capped)
      << result.out;
}

TEST(CliBench, JsonHasTheDocumentedKeysAndCsvTheSameRows) {
  const std::vector<std::string> args = {"bench", tiny_model(), "-p", "4", "-n", "2", "-r", "2"};
  std::vector<std::string> as_json = args, as_csv = args;
  as_json.insert(as_json.end(), {"-t", "1,2", "--json"});
  as_csv.push_back("--csv");
  const Json json = json_of(run_twofold(as_json));
  EXPECT_EQ(keys_of(json), documented_keys("bench"));
  ASSERT_EQ(json.at("rows").size(), 4u);
  for (const Json& row : json.at("rows")) {
    for (const char* key : {"model", "format", "threads", "prompt", "generated", "depth",
                            "tokens_per_second", "tokens_per_second_stddev", "bytes_per_token",
                            "bandwidth_share", "peak_share", "peak_memory_bytes", "isa"}) {
      EXPECT_TRUE(row.contains(key)) << key;
    }
  }
  const RunResult csv = run_twofold(as_csv);
  EXPECT_EQ(csv.status, 0) << csv.err;
  EXPECT_TRUE(csv.out.starts_with("model,format,")) << csv.out;
  EXPECT_EQ(std::ranges::count(csv.out, '\n'), 3) << csv.out;
}

TEST(CliBench, SyntheticModelIsKeptOrLeavesNothing) {
  const TemporaryFolder folder;
  const std::string kept = folder.path() / "kept";
  const RunResult keep = run_twofold(
      {"bench", "--synthetic", "135m", "--format", "r16-b2", "-p", "0", "-n", "0", "--keep", kept});
  EXPECT_EQ(keep.status, 0) << keep.err;
  const RunResult inspect = run_twofold({"inspect", kept});
  EXPECT_EQ(inspect.status, 0) << inspect.err;
  EXPECT_NE(inspect.out.find("r16-b2"), std::string::npos);
  const std::filesystem::path temporary = folder.path() / "tmp";
  std::filesystem::create_directory(temporary);
  const RunResult result =
      run_twofold({"bench", "--synthetic", "135m", "-p", "1", "-n", "0", "-r", "1"},
                  {.environment = {"TMPDIR=" + temporary.string()}});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("synthetic-135m r16-u4-g128"), std::string::npos) << result.out;
  EXPECT_TRUE(std::filesystem::is_empty(temporary));
}

TEST(CliBench, WrongFlagsAreArgumentErrors) {
  const std::string model = tiny_model();
  for (const std::vector<std::string>& args :
       std::vector<std::vector<std::string>>{{},
                                             {model, "--synthetic", "135m"},
                                             {model, "--format", "r16-u2"},
                                             {model, "--csv", "--json"},
                                             {model, "-p", "0", "-n", "0"},
                                             {model, "-p", "1,x"},
                                             {model, "-p", "1,,2"},
                                             {model, "-n", "-1"},
                                             {model, "-t", "0"},
                                             {model, "-r", "0"},
                                             {model, "-d", "100000"},
                                             {"--synthetic", "3b"},
                                             {"--synthetic", "135m", "--format", "q4_k"}}) {
    std::vector<std::string> all = {"bench"};
    all.insert(all.end(), args.begin(), args.end());
    const RunResult result = run_twofold(all);
    EXPECT_EQ(result.status, 2) << fmt::format("{}", result.err);
    EXPECT_TRUE(result.out.empty());
  }
}

}  // namespace
}  // namespace twofold

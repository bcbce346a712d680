// What the commands do when all is well, through the real program.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "commands.h"
#include "io/temporary_folder.h"
#include "run_program.h"
#include "support/paths.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;
using testing::read_file;
using testing::run_twofold;
using testing::RunResult;
using testing::TemporaryFolder;

fs::path character_folder() { return testing::source_dir() / "models" / "shakespeare-char"; }
std::string character_model() { return character_folder(); }
fs::path tiny_folder() { return testing::test_data("tiny-models") / "gpt2"; }
std::string tiny_model() { return tiny_folder(); }
fs::path stories_folder() { return testing::source_dir() / "models" / "stories260k"; }

Json json_of(const RunResult& result) {
  EXPECT_EQ(result.status, 0) << result.err;
  return parse_json(result.out, "standard output");
}

const cli::Command& command_named(std::span<const cli::Command> commands, std::string_view name) {
  return *std::ranges::find(commands, name, &cli::Command::name);
}

/// Every documented key of the command is there; "a[].b" is key b of each element of list a.
/// `except` are keys that this call does not have.
void expect_keys(const Json& json, std::string_view command,
                 const std::vector<std::string>& except = {}) {
  const auto commands = cli::all_commands();
  for (const cli::JsonKey& key : command_named(commands, command).json_keys) {
    if (std::ranges::find(except, key.key) != except.end()) continue;
    const size_t list = key.key.find("[].");
    if (list == std::string::npos) {
      EXPECT_TRUE(json.contains(key.key)) << command << " " << key.key;
      continue;
    }
    const Json& elements = json.at(key.key.substr(0, list));
    EXPECT_FALSE(elements.empty()) << key.key;
    for (const Json& element : elements) {
      EXPECT_TRUE(element.contains(key.key.substr(list + 3))) << command << " " << key.key;
    }
  }
}

/// Every key that the command emits is documented; elements of lists are looked into one level
/// deep.
void expect_no_other_keys(const Json& json, std::string_view command) {
  const auto commands = cli::all_commands();
  const auto& keys = command_named(commands, command).json_keys;
  const auto is_documented = [&](const std::string& key) {
    return std::ranges::find(keys, key, &cli::JsonKey::key) != keys.end();
  };
  for (const auto& [key, value] : json.items()) {
    EXPECT_TRUE(is_documented(key)) << command << " " << key;
    if (!value.is_array()) continue;
    for (const Json& element : value) {
      if (!element.is_object()) continue;
      for (const auto& item : element.items()) {
        EXPECT_TRUE(is_documented(key + "[]." + item.key())) << command << " " << item.key();
      }
    }
  }
}

TEST(CliGenerate, ChatAnswersWhatTheTemplateRenders) {
  const TemporaryFolder folder;
  const std::string jinja = folder.write(
      "t.jinja", "{% for m in messages %}{{ m.role[0] }} {{ m.content }}{{ x }} {% endfor %}");
  const std::vector<std::string> with = {"-n", "12", "--temp", "0", "--json", "--quiet"};
  const auto run = [&](std::vector<std::string> args) {
    args.insert(args.begin(), {"generate", stories_folder() / "stories260K.bin"});
    args.insert(args.end(), with.begin(), with.end());
    return json_of(run_twofold(args));
  };
  const Json chat = run({"--chat", "--chat-template", jinja, "--system", "Once", "-p", "upon",
                         "--template-arg", "x=[1]"});
  expect_keys(chat, "generate");
  expect_no_other_keys(chat, "generate");
  const Json same =
      run({"--chat", "--chat-template", folder.write("u.jinja", "{{ messages[0].content }}"), "-p",
           "s Once[1] u upon[1] "});
  EXPECT_EQ(chat["results"][0]["ids"], same["results"][0]["ids"]);
  EXPECT_EQ(chat["results"][0]["prompt_tokens"], same["results"][0]["prompt_tokens"]);
  EXPECT_EQ(chat["results"][0]["ids"].size(), 12u);
}

TEST(CliGenerate, Stories260kGreedyTextEqualsLlama2c) {
  const RunResult result = run_twofold({"generate", stories_folder() / "stories260K.bin",
                                        "--tokenizer", stories_folder() / "tok512.bin", "-p", "",
                                        "-n", "200", "--temp", "0", "--quiet"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, read_file(stories_folder() / "expected-greedy-200.txt"));
}

TEST(CliGenerate, PromptIsPrintedUnlessToldOtherwise) {
  const std::vector<std::string> args = {"generate", character_model(), "-p", "ROMEO:", "-n", "20"};
  const RunResult with = run_twofold(args);
  EXPECT_TRUE(with.out.starts_with("ROMEO:")) << with.out;
  std::vector<std::string> without = args;
  without.push_back("--no-display-prompt");
  EXPECT_EQ("ROMEO:" + run_twofold(without).out, with.out);
  std::vector<std::string> as_json = args;
  as_json.push_back("--json");
  EXPECT_EQ("ROMEO:" + json_of(run_twofold(as_json))["results"][0]["text"].get<std::string>(),
            with.out);
}

TEST(CliGenerate, PromptMayLookLikeAFlagOrAList) {
  for (const std::string prompt : {"--quiet", "-n", "[a,b]", "a\nb"}) {
    const RunResult result =
        run_twofold({"generate", character_model(), "-p", prompt, "-n", "1", "--temp", "0"});
    EXPECT_EQ(result.status, 0) << result.err;
    // Characters outside the vocabulary have no ids, but the prompt is printed as it was given.
    EXPECT_TRUE(result.out.starts_with(prompt)) << result.out;
  }
}

TEST(CliGenerate, SeedDecidesTheText) {
  const auto text = [](const std::string& seed) {
    return run_twofold(
               {"generate", character_model(), "-p", "A", "-n", "30", "--seed", seed, "--quiet"})
        .out;
  };
  EXPECT_EQ(text("5"), text("5"));
  EXPECT_NE(text("5"), text("6"));
}

TEST(CliGenerate, StopsBeforeAReversePrompt) {
  const std::vector<std::string> args = {"generate", character_model(), "-p", "KING",  "-n",
                                         "400",      "--temp",          "0",  "--json"};
  const std::string whole = json_of(run_twofold(args))["results"][0]["text"];
  ASSERT_GT(whole.size(), 20u);
  std::vector<std::string> stopped = args;
  const std::string stop = whole.substr(10, 4);
  stopped.insert(stopped.end(), {"-r", "@@@@", "-r", stop});
  const Json result = json_of(run_twofold(stopped))["results"][0];
  EXPECT_EQ(result["text"], whole.substr(0, whole.find(stop)));
  EXPECT_EQ(result["stop_reason"], "stop string");
}

TEST(CliGenerate, IdsContinueAsTheTransformersLibrarySays) {
  const Json expected = parse_json(read_file(tiny_folder() / "expected.json"), "expected.json");
  const TemporaryFolder folder;
  const std::string ids = folder.write("ids", expected["greedy"]["prompt"].dump() + "\n");
  const Json continuation = expected["greedy"]["continuation"];
  const RunResult result =
      run_twofold({"generate", tiny_model(), "--token-ids", ids, "-n",
                   std::to_string(continuation.size()), "--temp", "0", "--ignore-eos", "--json"});
  const Json json = json_of(result);
  EXPECT_EQ(json["results"][0]["ids"], continuation);
  expect_keys(json, "generate");
  expect_no_other_keys(json, "generate");
}

TEST(CliLogits, LastLogitsEqualTheTransformersLibrary) {
  const Json expected = parse_json(read_file(tiny_folder() / "expected.json"), "expected.json");
  const TemporaryFolder folder;
  std::string lines;
  for (const Json& sequence : expected["sequences"]) lines += sequence["ids"].dump() + "\n";
  const std::string ids = folder.write("ids", lines), out = folder.file("logits.json");
  const RunResult result = run_twofold({"logits", tiny_model(), "--token-ids", ids, "--json", out});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "");
  const Json json = parse_json(read_file(out), out);
  expect_keys(json, "logits");
  expect_no_other_keys(json, "logits");
  ASSERT_EQ(json["logits"].size(), expected["sequences"].size());
  for (size_t s = 0; s < json["logits"].size(); ++s) {
    const Json& sequence = expected["sequences"][s];
    const Json& row =
        sequence.contains("last_logits") ? sequence["last_logits"] : sequence["logits"].back();
    ASSERT_EQ(json["logits"][s].size(), row.size());
    for (size_t i = 0; i < row.size(); ++i) {
      EXPECT_NEAR(json["logits"][s][i].get<double>(), row[i].get<double>(), 1e-4);
    }
  }
}

TEST(CliEval, CharacterModelHasThePublishedLossAndItsJsonKeys) {
  const TemporaryFolder folder;
  const std::string text = read_file(character_folder() / "input.txt");
  // Two files that together are the validation split: they are joined byte for byte.
  const std::string a = folder.write("a", std::string_view(text).substr(892315, 1001));
  const std::string b = folder.write("b", std::string_view(text).substr(893316, 1003854 - 893316));
  const Json json =
      json_of(run_twofold({"eval", character_model(), "--text", a, b, "--protocol", "nanogpt-last",
                           "--json", "--against", character_model()}));
  expect_keys(json, "eval");
  expect_no_other_keys(json, "eval");
  EXPECT_EQ(json["windows"], 1742);
  EXPECT_EQ(json["text"], Json({a, b}));
  EXPECT_NEAR(json["nats_per_token"].get<double>(), 1.5088, 2e-4);
  EXPECT_NEAR(json["perplexity"].get<double>(), std::exp(json["nats_per_token"].get<double>()),
              1e-9);
  EXPECT_EQ(json["kl_mean"], 0);
  EXPECT_EQ(json["top1_agreement"], 1);
}

TEST(CliEval, SequencesOfIdsAreScoredWithoutATokenizer) {
  const TemporaryFolder folder;
  const std::string ids = folder.write("ids", "1 2 3 4\n\n[5, 6, 7]\n");
  const RunResult result = run_twofold({"eval", tiny_model(), "--token-ids", ids, "--json"});
  const Json json = json_of(result);
  EXPECT_EQ(json["protocol"], "sequences");
  EXPECT_EQ(json["windows"], 2);
  EXPECT_EQ(json["tokens"], 5);
  EXPECT_TRUE(json["bits_per_byte"].is_null());
  expect_keys(json, "eval", {"against", "kl_mean", "kl_median", "kl_p99", "top1_agreement"});
  expect_no_other_keys(json, "eval");
}

/// An argument error of one line that has all of `parts`.
void expect_argument_error(const std::vector<std::string>& args,
                           const std::vector<std::string>& parts) {
  const RunResult result = run_twofold(args);
  EXPECT_EQ(result.status, 2) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  for (const std::string& part : parts) {
    EXPECT_NE(result.err.find(part), std::string::npos) << part << " in " << result.err;
  }
}

TEST(CliEval, InputThatFitsNoWindowIsNamedWithItsFileOrFlag) {
  const std::string model = character_model(), text = model + "/README.md";
  const TemporaryFolder folder;
  const std::string brief = folder.write("brief", "too short");
  const std::string ids = folder.write("ids", "1 2 3\n4 65\n");
  const std::string lone = folder.write("lone", "1 2\n\n3\n");
  struct Case {
    std::vector<std::string> args, said;
  };
  for (const Case& c : std::vector<Case>{
           {{"--text", text, "--protocol", "gptq-2048"}, {model, "64", "gptq-2048", "2048"}},
           {{"--text", text, "--protocol", "nanogpt-full", "--window", "65"},
            {model, "64", "--window", "65"}},
           {{"--text", text, "--protocol", "llama.cpp-512", "--window", "3"}, {"--window", "3"}},
           {{"--text", brief, "--protocol", "nanogpt-full"}, {brief, "65", "9"}},
           {{"--text", text, "--protocol", "sequences"}, {"--protocol", "sequences"}},
           {{"--text", text, "--token-ids", text}, {"--text", "--token-ids"}},
           {{"--token-ids", ids}, {ids + ": line 2", model, "found 65"}},
           {{"--token-ids", lone}, {lone + ": line 3", model, "found 1"}},
           {{"--token-ids", lone, "--protocol", "nanogpt-full"}, {lone, "65", "2"}},
           {{}, {"--text", "--token-ids"}}}) {
    std::vector<std::string> all = {"eval", model};
    all.insert(all.end(), c.args.begin(), c.args.end());
    expect_argument_error(all, c.said);
  }
}

TEST(CliGenerate, ChatWithoutATemplateOrWithBadFlagsIsRefused) {
  const std::string model = character_model();
  const TemporaryFolder folder;
  const std::string jinja = folder.write("t.jinja", "{{ raise_exception('not you') }}");
  const std::string broken = folder.write("b.jinja", "a\n{{ 1 ");
  expect_argument_error({"generate", model, "--chat", "-p", "A"}, {model, "chat template"});
  expect_argument_error({"generate", model, "--system", "A"}, {"--system", "--chat"});
  expect_argument_error({"generate", model, "--chat-template", jinja}, {"--chat"});
  expect_argument_error({"generate", model, "--template-arg", "a=1"}, {"--chat"});
  expect_argument_error({"generate", model, "--chat", "--token-ids", jinja}, {"--token-ids"});
  const std::vector<std::string> chat = {"generate", model, "--chat", "-p", "A", "--chat-template"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args = chat;
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  expect_argument_error(with({jinja}), {jinja, "line 1", "not you"});
  expect_argument_error(with({jinja, "--template-arg", "a"}), {"--template-arg", "NAME=JSON"});
  expect_argument_error(with({jinja, "--template-arg", "a={"}), {"--template-arg", "a={"});
  const RunResult syntax = run_twofold(with({broken}));
  EXPECT_EQ(syntax.status, 1);
  EXPECT_NE(syntax.err.find(broken + ": line 2: expected"), std::string::npos) << syntax.err;
}

TEST(CliGenerate, PromptBeyondTheModelIsNamedWithItsFileOrFlag) {
  const std::string model = character_model(), long_text(70, 'a');
  const TemporaryFolder folder;
  const std::string text = folder.write("text", long_text);
  const std::string id = folder.write("id", "1\n\n2 65\n");
  const std::string empty = folder.write("empty", "1\n[]\n");
  expect_argument_error({"generate", model, "-p", long_text}, {"--prompt", "64", "70"});
  expect_argument_error({"generate", model, "-f", text}, {text, "64", "70"});
  expect_argument_error({"generate", model, "-f", text, "-c", "32"}, {text, "32", "70"});
  expect_argument_error({"generate", model, "-c", "65"}, {"--ctx-size", model, "64", "65"});
  expect_argument_error({"generate", model}, {"--prompt", "BOS", model});
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"generate", model}, {"logits", model, "--json", "-"}}) {
    for (const auto& [file, said] : {std::pair(id, ": line 3"), std::pair(empty, ": line 2")}) {
      std::vector<std::string> args = command;
      args.insert(args.end(), {"--token-ids", file});
      expect_argument_error(args, {file + said, model});
    }
  }
}

TEST(CliQuantize, WritesAFolderThatInspectEvalAndGenerateRead) {
  const TemporaryFolder folder;
  const std::string out = folder.file("pot4");
  const Json report = json_of(run_twofold(
      {"quantize", character_model(), "-o", out, "--method", "pot", "--bits", "4", "--json"}));
  expect_keys(report, "quantize");
  expect_no_other_keys(report, "quantize");
  const Json inspected = json_of(run_twofold({"inspect", out, "--json"}));
  expect_keys(inspected, "inspect");
  expect_no_other_keys(inspected, "inspect");
  EXPECT_EQ(inspected["bytes"], report["bytes"]);
  EXPECT_EQ(inspected["bits_per_weight"], report["bits_per_weight"]);
  EXPECT_EQ(inspected["parameters"], 804096);
  EXPECT_EQ(inspected["matrices"].size(), report["matrices"].size());
  const Json score = json_of(
      run_twofold({"eval", out, "--text", character_model() + "/README.md", "--protocol",
                   "nanogpt-full", "--windows", "5", "--against", character_model(), "--json"}));
  EXPECT_GT(score["kl_mean"].get<double>(), 0);
  EXPECT_EQ(run_twofold({"generate", out, "-p", "KING", "-n", "8"}).status, 0);
}

TEST(CliQuantize, SettingFlagsReachTheReport) {
  const TemporaryFolder folder;
  const Json report =
      json_of(run_twofold({"quantize", character_model(), "-o", folder.file("out"), "--method",
                           "pot", "--range", "-16,15", "--exponent-rounding", "up", "--scale-per",
                           "tensor", "--head", "keep", "--embeddings", "keep", "--json"}));
  int64_t quantized = 0;
  for (const Json& matrix : report["matrices"]) {
    if (matrix["method"] == "keep") continue;
    ++quantized;
    EXPECT_EQ(matrix["parameters"]["params"]["range"], "-16,15");
    EXPECT_EQ(matrix["parameters"]["params"]["exponent-rounding"], "up");
    EXPECT_EQ(matrix["parameters"]["params"]["scale-per"], "tensor");
  }
  EXPECT_EQ(quantized, 16);
}

TEST(CliQuantize, RecipeFileSaysWhatTheFlagsSay) {
  const TemporaryFolder folder;
  const std::string recipe = folder.write("recipe.json", R"({"rules": [
    {"roles": ["block"], "method": "rtn", "bits": 3},
    {"roles": ["head", "embedding", "position"], "keep": true}]})");
  const std::string a = folder.file("a"), b = folder.file("b");
  EXPECT_EQ(run_twofold({"quantize", character_model(), "-o", a, "--recipe", recipe}).status, 0);
  EXPECT_EQ(run_twofold({"quantize", character_model(), "-o", b, "--method", "rtn", "--bits", "3",
                         "--head", "keep", "--embeddings", "keep"})
                .status,
            0);
  EXPECT_EQ(read_file(a + "/model.safetensors"), read_file(b + "/model.safetensors"));
}

TEST(CliQuantize, RuleThatMatchesNothingIsNotedAndARecipeOfSuchRulesRefused) {
  const TemporaryFolder folder;
  const auto run = [&](const char* rules) {
    const std::string recipe = folder.write("recipe.json", rules);
    return run_twofold(
        {"quantize", tiny_model(), "-o", folder.file("out"), "--force", "--recipe", recipe});
  };
  for (const char* none :
       {R"({"rules": []})", R"({"rules": [{"layers": [50, 99], "method": "rtn", "bits": 4}]})"}) {
    const RunResult refused = run(none);
    EXPECT_EQ(refused.status, 2) << refused.err;
    EXPECT_NE(refused.err.find("recipe"), std::string::npos) << refused.err;
    EXPECT_FALSE(fs::exists(folder.file("out")));
  }
  const RunResult noted = run(R"({"rules": [{"roles": ["block"], "method": "rtn", "bits": 4},
      {"name": "no such tensor", "keep": true}, {"roles": ["norm"], "keep": true}]})");
  EXPECT_EQ(noted.status, 0) << noted.err;
  EXPECT_NE(noted.err.find("rule 2 "), std::string::npos) << noted.err;
  EXPECT_EQ(noted.err.find("rule 1 "), std::string::npos) << noted.err;
  EXPECT_EQ(noted.err.find("rule 3 "), std::string::npos) << noted.err;
}

TEST(CliGenerate, LogNamesPackedFormatsWithoutAFastKernel) {
  const TemporaryFolder folder;
  const std::string out = folder.file("q");
  ASSERT_EQ(run_twofold({"quantize", character_model(), "-o", out, "--method", "rtn"}).status, 0);
  const auto log = [](const std::string& model) {
    const testing::RunOptions scalar = {.environment = {"TWOFOLD_ISA=scalar"}};
    return run_twofold({"generate", model, "-p", "A", "-n", "1"}, scalar).err;
  };
  EXPECT_NE(log(out).find("r16-u8-g128: no fast kernel for this CPU (scalar)"), std::string::npos)
      << log(out);
  EXPECT_EQ(log(character_model()).find("kernel"), std::string::npos);
}

TEST(CliImport, WritesAFolderWithTheSameLogits) {
  const TemporaryFolder folder;
  const std::string ids = folder.write("ids", "[1, 2, 3]\n"), out = folder.file("imported");
  const std::string source = testing::test_data("tiny-models") / "gpt2.gguf";
  const Json report = json_of(run_twofold({"import", source, "-o", out, "--json"}));
  expect_keys(report, "import");
  expect_no_other_keys(report, "import");
  EXPECT_EQ(report["output"], out);
  EXPECT_EQ(report["bytes"], fs::file_size(out + "/model.safetensors"));
  const auto logits = [&](const std::string& model) {
    return run_twofold({"logits", model, "--token-ids", ids, "--json", "-", "--quiet"}).out;
  };
  EXPECT_EQ(logits(out), logits(source));
  EXPECT_TRUE(fs::exists(out + "/config.json"));
}

TEST(CliInspect, TableHasEveryMatrix) {
  const Json json = json_of(run_twofold({"inspect", tiny_model(), "--json"}));
  const std::string text = run_twofold({"inspect", tiny_model()}).out;
  for (const Json& matrix : json["matrices"]) {
    EXPECT_NE(text.find(matrix["name"].get<std::string>()), std::string::npos);
  }
}

TEST(CliCompare, GoesOnAfterCtrlCAndHasItsDocumentedKeys) {
  const TemporaryFolder folder;
  const std::string out = folder.file("comparison");
  const std::vector<std::string> command = {"compare",    character_model(),
                                            "--methods",  "rtn,pot:4:scale-search=mse",
                                            "--bits",     "3,4",
                                            "--text",     character_folder() / "input.txt",
                                            "--protocol", "nanogpt-full",
                                            "--windows",  "400",
                                            "-o",         out,
                                            "--json"};
  testing::RunOptions interrupted;
  interrupted.signal_when_exists = fs::path(out) / "rows" / "source.json";
  interrupted.signal_after_first_output = SIGINT;
  EXPECT_EQ(run_twofold(command, interrupted).status, 130);
  const std::string first = read_file(interrupted.signal_when_exists);
  const Json json = json_of(run_twofold(command));
  EXPECT_EQ(read_file(interrupted.signal_when_exists), first) << "made again";
  expect_keys(json, "compare");
  expect_no_other_keys(json, "compare");
  EXPECT_EQ(json["rows"].size(), 3u);
  EXPECT_EQ(json["rows"][2]["name"], "pot:4:scale-search=mse");
  for (const char* file : {"compare.md", "compare.csv", "compare.json", "compare.svg"}) {
    EXPECT_GT(fs::file_size(fs::path(out) / file), 0u) << file;
  }
}

TEST(CliCompare, WrongRowsAreArgumentErrors) {
  const TemporaryFolder folder;
  const std::vector<std::vector<std::string>> cases = {{"--methods", "nonsense"},
                                                       {"--methods", "rtn", "--bits", "3,3"},
                                                       {"--methods", "rtn", "--bits", "x"},
                                                       {"--methods", "rtn:3:group=5"},
                                                       {}};
  for (const auto& flags : cases) {
    std::vector<std::string> command = {"compare", character_model(),
                                        "-o",      folder.file("comparison"),
                                        "--text",  character_folder() / "README.md"};
    command.insert(command.end(), flags.begin(), flags.end());
    const RunResult result = run_twofold(command);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_FALSE(fs::exists(folder.file("comparison")));
  }
}

TEST(CliDemo, ScoresEveryVariantAndWritesAChart) {
  const TemporaryFolder folder;
  testing::RunOptions options;
  options.folder = testing::source_dir();
  options.timeout_seconds = 300;
  const RunResult result =
      run_twofold({"demo", "--json", "--svg", folder.file("twofold-demo.svg")}, options);
  const Json json = json_of(result);
  expect_keys(json, "demo");
  expect_no_other_keys(json, "demo");
  EXPECT_EQ(json["model"], "models/shakespeare-char") << "relative where it is inside";
  EXPECT_EQ(json["windows"], 1742);
  const Json& rows = json["rows"];
  // models/shakespeare-char/README.md, PyTorch float32.
  EXPECT_NEAR(rows[0]["nats_per_token"].get<double>(), 1.5843, 2e-4);
  EXPECT_EQ(rows[0]["kl_mean"], 0);
  for (const Json& row : rows) {
    if (row["variant"] == "PoT as published") {
      EXPECT_NEAR(row["nats_per_token"].get<double>(), 1.7079, 2e-4);
    }
    EXPECT_GT(row["tokens_per_second"].get<double>(), 0);
  }
  const std::string svg = read_file(folder.file("twofold-demo.svg"));
  EXPECT_TRUE(svg.starts_with("<svg ")) << svg.substr(0, 80);
  for (const Json& row : rows) {
    EXPECT_NE(svg.find(row["variant"].get<std::string>()), std::string::npos) << row["variant"];
  }
  EXPECT_EQ(fs::path(json["chart"].get<std::string>()).filename(), "twofold-demo.svg");
}

}  // namespace
}  // namespace twofold

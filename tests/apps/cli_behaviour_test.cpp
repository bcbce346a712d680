// What the program does when things go wrong: exit status, one line on standard error, nothing
// written.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <sstream>

#include "base/json.h"
#include "base/version.h"
#include "commands.h"
#include "eval/protocol.h"
#include "interrupt.h"
#include "io/temporary_folder.h"
#include "large_model.h"
#include "model/family.h"
#include "model_input.h"
#include "quant/method.h"
#include "run_program.h"
#include "session.h"
#include "support/paths.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;
using testing::large_model;
using testing::run_twofold;
using testing::RunOptions;
using testing::RunResult;
using testing::TemporaryFolder;

std::string character_model() { return testing::source_dir() / "models" / "shakespeare-char"; }
std::string tiny_model() { return testing::test_data("tiny-models") / "gpt2"; }

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// Status, an empty standard output, and exactly one line that begins with the program's name.
void expect_failure(const RunResult& result, int status) {
  EXPECT_EQ(result.status, status) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(result.err.starts_with("twofold: ")) << result.err;
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  EXPECT_TRUE(result.err.ends_with('\n')) << result.err;
}

TEST(Cli, VersionIsThatOfTheProject) {
  const RunResult result = run_twofold({"--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, std::string("twofold ") + kVersion + "\n");
}

TEST(Cli, HelpNamesEveryCommandAndEachCommandEveryFlag) {
  const RunResult result = run_twofold({"--help"});
  EXPECT_EQ(result.status, 0);
  for (const cli::Command& command : cli::all_commands()) {
    EXPECT_TRUE(contains(result.out, command.name)) << command.name;
    const RunResult help = run_twofold({command.name, "--help"});
    EXPECT_EQ(help.status, 0) << command.name;
    for (const cli::Flag& flag : command.flags) {
      EXPECT_TRUE(contains(help.out, flag.main_name())) << command.name << " " << flag.names;
    }
    for (const cli::JsonKey& key : command.json_keys) {
      EXPECT_TRUE(contains(help.out, key.key)) << command.name << " " << key.key;
    }
  }
}

TEST(Cli, HelpListsEveryRegistryEntry) {
  const std::string quantize = run_twofold({"quantize", "--help"}).out;
  for (const Method& method : all_methods()) EXPECT_TRUE(contains(quantize, method.name));
  for (const Grid& grid : all_grids()) EXPECT_TRUE(contains(quantize, grid.name));
  for (const Transform& transform : all_transforms()) {
    EXPECT_TRUE(contains(quantize, transform.name));
  }
  for (const Rounding& rounding : all_roundings()) EXPECT_TRUE(contains(quantize, rounding.name));
  for (const ParamSpec& spec : all_param_specs()) {
    EXPECT_TRUE(contains(quantize, "--" + std::string(spec.name))) << spec.name;
  }
  const std::string eval = run_twofold({"eval", "--help"}).out;
  for (const Protocol& protocol : all_protocols()) EXPECT_TRUE(contains(eval, protocol.name));
}

TEST(Cli, DocumentationIsWhatTheProgramSays) {
  const RunResult result = run_twofold({"help", "--markdown"});
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(result.out == testing::read_file(testing::source_dir() / "docs" / "cli.md"))
      << "run: build/release/twofold help --markdown > docs/cli.md";
}

TEST(Cli, FlagNamesAreUniqueInEachCommand) {
  for (const cli::Command& command : cli::all_commands()) {
    std::vector<std::string> names;
    for (const cli::Flag& flag : command.flags) {
      std::stringstream list(flag.names);
      for (std::string name; std::getline(list, name, ',');) names.push_back(name);
    }
    std::ranges::sort(names);
    EXPECT_EQ(std::ranges::adjacent_find(names), names.end()) << command.name;
  }
}

TEST(Cli, MissingFileIsNamed) {
  const TemporaryFolder folder;
  const std::string missing = folder.file("no-model");
  for (const cli::Command& command : cli::all_commands()) {
    if (command.flags.front().names != "MODEL") continue;
    std::vector<std::string> args = {command.name, missing};
    for (const cli::Flag& flag : command.flags) {
      if (flag.required && !flag.is_positional()) {
        args.push_back(flag.main_name());
        args.push_back(folder.file("out"));
      }
    }
    if (command.name == "eval") args.insert(args.end(), {"--text", missing});
    if (command.name == "quantize") args.insert(args.end(), {"--method", "rtn"});
    const RunResult result = run_twofold(args);
    expect_failure(result, 1);
    EXPECT_TRUE(contains(result.err, missing)) << result.err;
    EXPECT_FALSE(fs::exists(folder.file("out"))) << command.name;
  }
}

TEST(Cli, FileThatIsNoModelIsRefused) {
  const TemporaryFolder folder;
  for (const char* name : {"model.gguf", "model.bin", "model.txt"}) {
    const std::string path = folder.write(name, "this is no model");
    expect_failure(run_twofold({"inspect", path}), 1);
  }
  fs::create_directory(folder.file("empty"));
  expect_failure(run_twofold({"inspect", folder.file("empty")}), 1);
}

TEST(Cli, PathsThatTheSystemRefusesAreNamedWithItsReason) {
  const TemporaryFolder folder;
  const std::string long_path = folder.file(std::string(300, 'a'));
  const auto expect_refused = [&](const RunResult& result, std::string_view reason) {
    expect_failure(result, 1);
    EXPECT_TRUE(contains(result.err, folder.path().string())) << result.err;
    EXPECT_TRUE(contains(result.err, reason)) << result.err;
  };
  expect_refused(run_twofold({"inspect", long_path}), "File name too long");
  expect_refused(run_twofold({"quantize", tiny_model(), "-o", long_path, "--method", "rtn"}),
                 "File name too long");
  fs::create_symlink("config.json", folder.file("config.json"));  // to itself
  expect_refused(run_twofold({"inspect", folder.path().string()}), "symbolic links");

  const RunResult nameless = run_twofold({"quantize", tiny_model(), "-o", "", "--method", "rtn"});
  expect_failure(nameless, 2);
  EXPECT_TRUE(contains(nameless.err, "expected a name, found none")) << nameless.err;
}

TEST(Cli, AFileThatPassesTheLimitOfTheShellIsAnErrorAndLeavesNothing) {
  const TemporaryFolder folder;
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit limit = before;
  limit.rlim_cur = 100 << 10;  // inherited by the program, as from `ulimit -f`
  setrlimit(RLIMIT_FSIZE, &limit);
  const RunResult result = run_twofold(
      {"quantize", character_model(), "-o", folder.file("out"), "--method", "rtn", "--quiet"});
  setrlimit(RLIMIT_FSIZE, &before);
  expect_failure(result, 1);
  EXPECT_TRUE(contains(result.err, "File too large")) << result.err;
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Cli, UnknownFamilyIsRefusedWithTheKnownOnes) {
  const TemporaryFolder folder;
  folder.write("config.json", R"({"architectures": ["BertModel"], "model_type": "bert"})");
  const RunResult result = run_twofold({"inspect", folder.path()});
  expect_failure(result, 1);
  EXPECT_TRUE(contains(result.err, "ert")) << result.err;
  for (const Family* family : all_families()) {
    EXPECT_TRUE(contains(result.err, family->architectures.front())) << result.err;
  }
}

TEST(Cli, UnknownCommandListsTheCommands) {
  const RunResult result = run_twofold({"frobnicate"});
  expect_failure(result, 2);
  for (const cli::Command& command : cli::all_commands()) {
    EXPECT_TRUE(contains(result.err, command.name)) << result.err;
  }
}

TEST(Cli, HelpOfACommandIsItsHelpAndOfAnUnknownOneAnError) {
  EXPECT_EQ(run_twofold({"help", "eval"}).out, run_twofold({"eval", "--help"}).out);
  const RunResult result = run_twofold({"help", "frobnicate"});
  expect_failure(result, 2);
  for (const cli::Command& command : cli::all_commands()) {
    EXPECT_TRUE(contains(result.err, command.name)) << result.err;
  }
}

TEST(Cli, UnknownFlagListsTheFlagsOfEveryCommand) {
  for (const cli::Command& command : cli::all_commands()) {
    const RunResult result = run_twofold({command.name, "x", "--frobnicate", "3"});
    expect_failure(result, 2);
    EXPECT_TRUE(contains(result.err, "--frobnicate")) << result.err;
    for (const cli::Flag& flag : command.flags) {
      if (flag.is_positional()) continue;
      EXPECT_TRUE(contains(result.err, flag.main_name())) << result.err;
    }
  }
}

TEST(Cli, MissingArgumentsAreNamed) {
  for (const cli::Command& command : cli::all_commands()) {
    for (const cli::Flag& flag : command.flags) {
      if (!flag.required || !flag.is_positional()) continue;
      const RunResult result = run_twofold({command.name});
      expect_failure(result, 2);
      EXPECT_TRUE(contains(result.err, flag.main_name())) << result.err;
    }
  }
}

TEST(Cli, ValueOutOfRangeSaysTheRange) {
  const std::vector<std::vector<std::string>> cases = {
      {"--temp", "-1", "0"},       {"--top-p", "1.5", "1"},
      {"--top-p", "0", "above 0"}, {"--repeat-penalty", "0", "above 0"},
      {"--top-p", "x", "0"},       {"--top-k", "2.5", "0"},
      {"--n-predict", "-2", "-1"}, {"--threads", "99999", "1024"},
      {"--min-p", "nan", "0"},     {"--ctx-size", "1e3", "0"},
      {"--seed", "-1", "integer"}, {"--top-k", "99999999999999999999", "0"}};
  for (const auto& one : cases) {
    const RunResult result = run_twofold({"generate", tiny_model(), one[0], one[1]});
    expect_failure(result, 2);
    EXPECT_TRUE(contains(result.err, one[0]) && contains(result.err, one[1]) &&
                contains(result.err, one[2]))
        << result.err;
  }
}

TEST(Cli, ChoicesAreListed) {
  const TemporaryFolder folder;
  const RunResult protocol = run_twofold({"eval", tiny_model(), "--protocol", "mine"});
  expect_failure(protocol, 2);
  for (const Protocol& row : all_protocols()) EXPECT_TRUE(contains(protocol.err, row.name));
  for (const char* method : {"mine", ""}) {
    std::vector<std::string> args = {"quantize", tiny_model(), "-o", folder.file("out")};
    if (*method != 0) args.insert(args.end(), {"--method", method});
    const RunResult result = run_twofold(args);
    expect_failure(result, 2);
    for (const Method& row : all_methods()) EXPECT_TRUE(contains(result.err, row.name));
  }
  EXPECT_FALSE(fs::exists(folder.file("out")));
}

TEST(Cli, MethodAndBitsThatDoNotGoTogetherAreRefused) {
  const TemporaryFolder folder;
  const std::vector<std::vector<std::string>> cases = {
      {"--method", "rtn", "--bits", "13"},  {"--method", "pot", "--bits", "12"},
      {"--method", "rtn", "--group", "48"}, {"--method", "rtn", "--head", "rtn"},
      {"--method", "rtn", "--recipe", "x"}, {"--method", "pot", "--range", "5"}};
  for (const auto& one : cases) {
    std::vector<std::string> args = {"quantize", tiny_model(), "-o", folder.file("out")};
    args.insert(args.end(), one.begin(), one.end());
    expect_failure(run_twofold(args), 2);
    EXPECT_FALSE(fs::exists(folder.file("out")));
  }
}

TEST(Cli, ExistingOutputIsRefusedUnlessForced) {
  const TemporaryFolder folder;
  const std::string out = folder.file("out");
  fs::create_directory(out);
  std::ofstream(out + "/mine.txt") << "mine";
  std::ofstream(out + "/config.json") << "{}";
  const std::vector<std::string> args = {"quantize", tiny_model(), "-o", out, "--method", "rtn"};
  const RunResult refused = run_twofold(args);
  expect_failure(refused, 2);
  EXPECT_TRUE(contains(refused.err, out)) << refused.err;
  EXPECT_TRUE(fs::exists(out + "/mine.txt"));
  std::vector<std::string> forced = args;
  forced.push_back("--force");
  EXPECT_EQ(run_twofold(forced).status, 0);
  EXPECT_TRUE(fs::exists(out + "/config.json"));
  EXPECT_FALSE(fs::exists(out + "/mine.txt"));
}

TEST(Cli, CtrlCEndsGenerationWithinASecond) {
  const TemporaryFolder folder;
  std::string prompts;
  for (int i = 0; i < 200000; ++i) prompts += "1\n";
  const std::string ids = folder.write("prompts", prompts);
  for (const int signal : {SIGINT, SIGTERM}) {
    RunOptions options;
    options.signal_after_first_output = signal;
    const RunResult result =
        run_twofold({"generate", tiny_model(), "--token-ids", ids, "-n", "40", "--quiet"}, options);
    EXPECT_EQ(result.status, 128 + signal);
    EXPECT_LT(result.seconds_after_signal, 1.0);
    EXPECT_EQ(result.err, "twofold: interrupted\n");
  }
}

TEST(Cli, ClosedPipeEndsTheProgramQuietly) {
  const TemporaryFolder folder;
  std::string prompts;
  for (int i = 0; i < 200000; ++i) prompts += "1\n";
  const std::string ids = folder.write("prompts", prompts);
  RunOptions options;
  options.close_stdout_early = true;
  const RunResult result =
      run_twofold({"generate", tiny_model(), "--token-ids", ids, "-n", "40", "--quiet"}, options);
  EXPECT_EQ(result.status, 128 + SIGPIPE);
  EXPECT_EQ(result.err, "");
}

TEST(Cli, FullDiskIsAnError) {
  RunOptions options;
  options.stdout_file = "/dev/full";
  for (const std::vector<std::string>& args :
       {std::vector<std::string>{"--version"}, {"inspect", tiny_model()}}) {
    expect_failure(run_twofold(args, options), 1);
  }
}

TEST(Cli, StandardErrorThatCannotBeWrittenChangesNothing) {
  RunOptions options;
  options.stderr_file = "/dev/full";
  EXPECT_EQ(run_twofold({"frobnicate"}, options).status, 2);
  EXPECT_EQ(run_twofold({"inspect", "no-such-model"}, options).status, 1);
  const RunResult result =
      run_twofold({"generate", character_model(), "-p", "A", "-n", "3"}, options);
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(result.out.starts_with("A"));
}

TEST(Cli, FileThatCannotBeWrittenIsRefusedBeforeTheWork) {
  const TemporaryFolder folder;
  const std::string ids = folder.write("ids", "1\n"), missing = folder.file("no/such/x");
  for (const std::string& target : {missing, folder.path().string()}) {
    // The model does not exist: the target is found wanting first.
    for (const std::vector<std::string>& args :
         {std::vector<std::string>{"demo", "--model", "no-such-model", "--svg", target},
          {"logits", "no-such-model", "--token-ids", ids, "--json", target}}) {
      const RunResult result = run_twofold(args);
      expect_failure(result, 1);
      EXPECT_TRUE(contains(result.err, target)) << result.err;
    }
  }
}

/// What a terminal shows of `text`: "\r" goes back, "\x1b[K" erases to the end of the line.
std::string screen_of(std::string_view text) {
  std::string screen;
  size_t at = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i).starts_with("\x1b[K")) {
      screen.resize(at);
      i += 2;
    } else if (text[i] == '\r') {
      at = screen.rfind('\n') + 1;
    } else if (text[i] == '\n') {
      screen += '\n';
      at = screen.size();
    } else {
      screen.resize(std::max(screen.size(), at + 1));
      screen[at++] = text[i];
    }
  }
  return screen;
}

TEST(Cli, PromptAndTextAreLeftOnATerminal) {
  const std::vector<std::string> args = {"generate", character_model(), "-p", "ROMEO:", "-n",
                                         "20",       "--temp",          "0"};
  const std::string text = run_twofold(args).out;
  RunOptions options;
  options.on_terminal = true;
  const RunResult result = run_twofold(args, options);
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(contains(result.out, "prompt [")) << "the bar was drawn";
  EXPECT_TRUE(screen_of(result.out).starts_with(text + "\n")) << screen_of(result.out);
}

TEST(Cli, CtrlCEndsQuantizingWithinASecondAndLeavesNothing) {
  const TemporaryFolder source, folder;
  const fs::path model = large_model(source, 1024), out = folder.file("out");
  RunOptions options;
  options.signal_after_first_output = SIGINT;
  options.signal_when_exists = folder.file("out.partial/model.safetensors");
  const RunResult result =
      run_twofold({"quantize", model, "-o", out, "--method", "rtn", "--quiet"}, options);
  EXPECT_EQ(result.status, 130);
  EXPECT_LT(result.seconds_after_signal, 1.0);
  EXPECT_EQ(result.err, "twofold: interrupted\n");
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Cli, CtrlCEndsTheWaitForAPipeWithoutAWriter) {
  const TemporaryFolder folder;
  const std::string pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  RunOptions options;
  options.stdout_file = "/dev/null";
  options.signal_after_first_output = SIGINT;
  // It exists at once, so the signal may come before the program has installed its handlers; then
  // it ends without a message, but it ends.
  options.signal_when_exists = pipe;
  EXPECT_EQ(run_twofold({"eval", tiny_model(), "--token-ids", pipe}, options).status, 130);
}

/// In a process of its own, which does not wait for ever: a signal comes, then `act` runs.
void after_a_signal(const std::function<void()>& act) {
  ::alarm(20);
  cli::install_signal_handlers();
  ::raise(SIGINT);
  try {
    act();
  } catch (const Error& error) {
    _exit(error.code() == ErrorCode::kCancelled ? cli::interrupted_status() : 3);
  }
  _exit(4);
}

TEST(Cli, SignalsThatComeJustBeforeAWaitEndIt) {
  const TemporaryFolder folder;
  const std::string pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EXIT(after_a_signal([&] { cli::read_input(pipe); }), ::testing::ExitedWithCode(130), "");
  EXPECT_EXIT(after_a_signal([] { const cli::EndsAtOnce guard; }), ::testing::ExitedWithCode(130),
              "twofold: interrupted");
}

TEST(Cli, CtrlCEndsTheWaitForACalibrationTextThatIsAPipe) {
  const TemporaryFolder folder;
  const std::string pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::vector<std::string> args = {
      character_model(), "-o", folder.file("out"), "--method", "gptq", "--calibration", pipe};
  EXPECT_EXIT(after_a_signal([&] {
                const cli::Command command = cli::quantize_command();
                cli::parse_flags(command, args);
                cli::Session session(*command.common, "twofold quantize");
                command.run(session);
              }),
              ::testing::ExitedWithCode(130), "");
}

TEST(Cli, SecondSignalEndsTheProgramAtOnce) {
  EXPECT_EXIT(
      {
        cli::install_signal_handlers();
        ::raise(SIGINT);
        if (!cli::interrupted()) _exit(1);
        ::raise(SIGINT);
        _exit(2);
      },
      ::testing::ExitedWithCode(130), "");
}

TEST(Cli, EnvironmentVariablesAreChecked) {
  for (const char* entry : {"TWOFOLD_ISA=quantum", "TWOFOLD_LOG=perhaps"}) {
    RunOptions options;
    options.environment = {entry};
    const RunResult result = run_twofold({"inspect", tiny_model()}, options);
    expect_failure(result, 2);
    EXPECT_TRUE(contains(result.err, std::string(entry).substr(0, 11))) << result.err;
  }
}

TEST(Cli, NoProgressBarWhenStandardErrorIsNoTerminal) {
  const RunResult result =
      run_twofold({"eval", character_model(), "--text", character_model() + "/README.md",
                   "--protocol", "nanogpt-full"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_FALSE(contains(result.err, "\r"));
  EXPECT_FALSE(contains(result.err, "\x1b"));
}

TEST(Cli, QuietLeavesStandardErrorEmpty) {
  const std::vector<std::string> args = {"generate", character_model(), "-p", "KING", "-n", "5"};
  const RunResult loud = run_twofold(args);
  EXPECT_TRUE(contains(loud.err, "tokens/s")) << loud.err;
  std::vector<std::string> quiet = args;
  quiet.push_back("--quiet");
  EXPECT_EQ(run_twofold(quiet).err, "");
  RunOptions off;
  off.environment = {"TWOFOLD_LOG=off"};
  EXPECT_EQ(run_twofold(args, off).err, "");
}

}  // namespace
}  // namespace twofold

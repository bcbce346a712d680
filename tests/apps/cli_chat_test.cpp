// Conversations of `generate --chat` as a user has them: on a terminal and through a pipe.
#include <gtest/gtest.h>
#include <signal.h>

#include "base/json.h"
#include "io/temporary_folder.h"
#include "large_model.h"
#include "run_program.h"
#include "support/paths.h"

namespace twofold {
namespace {

using testing::run_twofold;
using testing::RunOptions;
using testing::RunResult;
using testing::TemporaryFolder;
using testing::TerminalStep;

/// A model of 512 positions that writes on and on.
class CliChat : public ::testing::Test {
 protected:
  std::vector<std::string> chat(std::vector<std::string> more) const {
    std::vector<std::string> args = {"generate",        stories_,  "--chat",
                                     "--chat-template", template_, "--ignore-eos"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  /// All tokens are equally likely, and take a while.
  std::vector<std::string> slow_chat(const TemporaryFolder& source) const {
    return {"generate",
            testing::large_model(source, 512),
            "--tokenizer",
            tokenizer_,
            "--chat",
            "--ignore-eos",
            "--chat-template",
            template_,
            "-n",
            "-1",
            "--temp",
            "1"};
  }
  Json answers(const std::string& input, std::vector<std::string> more) const {
    more.insert(more.end(), {"--json", "--quiet"});
    RunOptions options;
    options.input = input;
    const RunResult result = run_twofold(chat(more), options);
    EXPECT_EQ(result.status, 0) << result.err;
    return Json::parse(result.out, nullptr, false).at("results");
  }
  TemporaryFolder folder_;
  std::string stories_ = testing::source_dir() / "models" / "stories260k" / "stories260K.bin";
  std::string tokenizer_ = testing::source_dir() / "models" / "stories260k" / "tok512.bin";
  std::string template_ = folder_.write(
      "t.jinja", "<s>{% for m in messages %}{{ m.role[0] }}: {{ m.content }}\n{% endfor %}a:");
};

TEST_F(CliChat, TurnsThatOutgrowTheContextPushTheOldestOut) {
  std::string input;
  for (int i = 0; i < 12; ++i) input += "The cat number " + std::to_string(i) + " sat here.\n";
  RunOptions options;
  options.input = input;
  const std::vector<std::string> args = {"-n", "20", "-c", "128", "--system", "Once upon a time."};
  const RunResult result = run_twofold(chat(args), options);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("the conversation outgrew the context of 128 tokens: its oldest"),
            std::string::npos)
      << result.err;
  const Json turns = answers(input, args);
  ASSERT_EQ(turns.size(), 12u);
  bool shortened = false;
  for (size_t i = 0; i < turns.size(); ++i) {
    EXPECT_LE(turns[i]["prompt_tokens"], 128 - 20) << i;
    EXPECT_EQ(turns[i]["generated_tokens"], 20) << i;
    if (i == 0 || turns[i]["prompt_tokens"] > turns[i - 1]["prompt_tokens"]) continue;
    shortened = true;
    EXPECT_GT(turns[i]["cached_tokens"], 5) << "the message of the system stays";
  }
  EXPECT_TRUE(shortened);
}

TEST_F(CliChat, AMessageLongerThanTheContextIsRefusedAndOnATerminalTheChatGoesOn) {
  const std::string words(900, 'x');
  RunOptions piped;
  piped.input = words + "\n";
  const RunResult refused = run_twofold(chat({"-c", "64", "-n", "4"}), piped);
  EXPECT_EQ(refused.status, 2);
  EXPECT_NE(refused.err.find("--chat: expected a message that fits the 64 tokens"),
            std::string::npos)
      << refused.err;
  RunOptions options;
  options.steps = {{.after = "> ", .types = words + "\n"},
                   {.after = "twofold: --chat: expected a message", .types = ""},
                   {.after = "> ", .types = "\n"},
                   {.after = "> ", .types = "The cat\n"},
                   {.after = "tokens/s; stopped by", .types = ""},
                   {.after = "> ", .types = "\x04"}};
  const RunResult result = run_twofold(chat({"-c", "64", "-n", "4"}), options);
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST_F(CliChat, TurnsDrawFromOneStreamOfRandomNumbers) {
  // Every turn sees the same text, so that only the random numbers differ.
  const std::string same = folder_.write("same.jinja", "<s>Once upon a time");
  const std::vector<std::string> args = {"-n",     "24", "--temp",          "1.2",
                                         "--seed", "7",  "--chat-template", same};
  const auto ids = [](const Json& turns, size_t i) { return turns.at(i).at("ids"); };
  std::vector<std::string> alone = {"generate", stories_, "--chat", "-p", "a", "--json"};
  alone.insert(alone.end(), args.begin(), args.end());
  RunOptions options;
  options.input = "a\nb\nc\n";
  std::vector<std::string> several = {"generate", stories_, "--chat", "--json"};
  several.insert(several.end(), args.begin(), args.end());
  const Json turns = Json::parse(run_twofold(several, options).out).at("results");
  const Json again = Json::parse(run_twofold(several, options).out).at("results");
  ASSERT_EQ(turns.size(), 3u);
  EXPECT_NE(ids(turns, 0), ids(turns, 1));
  EXPECT_NE(ids(turns, 1), ids(turns, 2));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(ids(turns, i), ids(again, i)) << i;
  EXPECT_EQ(ids(turns, 0), ids(Json::parse(run_twofold(alone).out).at("results"), 0));
}

TEST_F(CliChat, CtrlCEndsTheAnswerAndThenTheProgram) {
  const TemporaryFolder source;
  RunOptions options;
  options.steps = {{.after = "> ", .types = "Once upon a time\n"},
                   {.after = "time\r\n", .types = ""},
                   {.after = " ", .types = "", .signal = SIGINT},  // in the answer
                   {.after = "\r\n> ", .types = "Who was it?\n"},
                   {.after = "it?\r\n", .types = ""},
                   {.after = " ", .types = "", .signal = SIGINT},
                   {.after = "\r\n> ", .types = "", .signal = SIGINT}};
  const RunResult result = run_twofold(slow_chat(source), options);
  EXPECT_EQ(result.status, 130);
  EXPECT_NE(result.out.find("Who was it?"), std::string::npos) << result.out;
  EXPECT_TRUE(result.out.ends_with("> twofold: interrupted\r\n")) << result.out;
}

TEST_F(CliChat, ATerminationSignalEndsTheProgramInAnAnswerToo) {
  const TemporaryFolder source;
  RunOptions options;
  options.steps = {{.after = "> ", .types = "Once upon a time\n"},
                   {.after = "time\r\n", .types = ""},
                   {.after = " ", .types = "", .signal = SIGTERM}};
  EXPECT_EQ(run_twofold(slow_chat(source), options).status, 128 + SIGTERM);
}

}  // namespace
}  // namespace twofold

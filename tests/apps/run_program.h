// Runs the real program in its own process, without a shell.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace twofold::testing {

/// What a user does on a terminal: waits for `after` in the output that follows what the last step
/// waited for, then types `types` or sends `signal`.
struct TerminalStep {
  std::string after, types;
  int signal = 0;
};

struct RunOptions {
  std::filesystem::path folder = {};     // working directory; empty = this process's
  std::string stdout_file = {};          // where standard output goes instead of `out`
  std::string stderr_file = {};          // where standard error goes instead of `err`
  bool on_terminal = false;              // both streams are one terminal, all goes to `out`
  std::string input = {};                // standard input, which then ends
  std::vector<TerminalStep> steps = {};  // standard input is the terminal too
  std::filesystem::path signal_when_exists = {};  // the signal is sent when this file is there
  bool close_stdout_early = false;                // its reader goes after the first bytes
  /// Sent when the first bytes of standard output arrive, or when signal_when_exists is there.
  int signal_after_first_output = 0;
  std::vector<std::string> environment = {};  // "NAME=value", added
  double timeout_seconds = 120;               // then the program is killed and the test fails
};

struct RunResult {
  int status = -1;  // exit status, or 128 + the signal that ended it
  std::string out, err;
  double seconds_after_signal = 0;
};

/// Runs `twofold` with these arguments. Standard error is a pipe, so no terminal.
RunResult run_twofold(const std::vector<std::string>& args, const RunOptions& options = {});

}  // namespace twofold::testing

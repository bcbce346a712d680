// Signals: the first Ctrl-C (or SIGTERM) sets the flag that the library polls, the second ends the
// program at once.
#pragma once

#include <atomic>

namespace twofold::cli {

/// Installs the handlers; ignores SIGPIPE, so that writing to a closed pipe is an error value.
void install_signal_handlers();
/// While one of these lives, a signal ends the program at once, also one that came before: for
/// waiting for the next line of standard input, when there is nothing to clean up.
class EndsAtOnce {
 public:
  EndsAtOnce();
  ~EndsAtOnce();
  EndsAtOnce(const EndsAtOnce&) = delete;
  EndsAtOnce& operator=(const EndsAtOnce&) = delete;
};
/// Set by the first signal.
const std::atomic<bool>& interrupted();
/// Forgets Ctrl-C, so that the program goes on; false if another signal asks it to end.
bool forget_interrupt();
/// Exit status of an interrupted program: 128 + the signal, 130 for Ctrl-C.
int interrupted_status();
/// Ends the program as the closed pipe would have ended it.
[[noreturn]] void end_by_closed_pipe();

}  // namespace twofold::cli

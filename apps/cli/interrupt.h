// Signals: the first Ctrl-C (or SIGTERM) sets the flag that the library polls, the second ends the
// program at once.
#pragma once

#include <atomic>

namespace twofold::cli {

/// Installs the handlers; ignores SIGPIPE, so that writing to a closed pipe is an error value.
void install_signal_handlers();
/// While one of these lives, the first signal ends the program at once: for reading what may never
/// come, such as a pipe without a writer, when there is nothing yet to clean up.
class EndsAtOnce {
 public:
  EndsAtOnce();
  ~EndsAtOnce();
  EndsAtOnce(const EndsAtOnce&) = delete;
  EndsAtOnce& operator=(const EndsAtOnce&) = delete;
};
/// Set by the first signal.
const std::atomic<bool>& interrupted();
/// Exit status of an interrupted program: 128 + the signal, 130 for Ctrl-C.
int interrupted_status();
/// Ends the program as the closed pipe would have ended it.
[[noreturn]] void end_by_closed_pipe();

}  // namespace twofold::cli

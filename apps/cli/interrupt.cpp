#include "interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <string_view>

namespace twofold::cli {

namespace {

std::atomic<bool> g_interrupted{false};
std::atomic<bool> g_ends_at_once{false};
std::atomic<int> g_signal{SIGINT};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

[[noreturn]] void end_with_message() {
  constexpr std::string_view kMessage = "twofold: interrupted\n";
  const ssize_t lost = ::write(STDERR_FILENO, kMessage.data(), kMessage.size());
  static_cast<void>(lost);
  _exit(interrupted_status());
}

void on_signal(int signal) {
  if (g_interrupted.exchange(true)) _exit(128 + signal);
  g_signal.store(signal);
  if (g_ends_at_once) end_with_message();
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = 0;  // a system call that waits ends, so that the flag is seen
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
  sigaction(SIGXFSZ, &action, nullptr);  // the write that passes ulimit -f says so itself
}

EndsAtOnce::EndsAtOnce() {
  g_ends_at_once = true;
  if (g_interrupted) end_with_message();  // a signal that came before is not forgotten
}
EndsAtOnce::~EndsAtOnce() { g_ends_at_once = false; }

const std::atomic<bool>& interrupted() { return g_interrupted; }

bool forget_interrupt() {
  if (g_signal != SIGINT) return false;
  g_interrupted = false;
  return true;
}

int interrupted_status() { return 128 + g_signal.load(); }

void end_by_closed_pipe() {
  signal(SIGPIPE, SIG_DFL);
  raise(SIGPIPE);
  _exit(128 + SIGPIPE);
}

}  // namespace twofold::cli

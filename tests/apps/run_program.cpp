#include "run_program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <stdexcept>

namespace twofold::testing {

namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
    read_end = ends[0];
    write_end = ends[1];
  }
  ~Pipe() {
    close_end(read_end);
    close_end(write_end);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  static void close_end(int& end) {
    if (end >= 0) ::close(end);
    end = -1;
  }
};

/// Makes both streams the two sides of a new terminal: all that is written arrives in `out`.
void use_terminal(Pipe& out, Pipe& err) {
  Pipe::close_end(out.read_end);
  Pipe::close_end(out.write_end);
  out.read_end = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (out.read_end < 0 || ::grantpt(out.read_end) != 0 || ::unlockpt(out.read_end) != 0) {
    throw std::runtime_error("no terminal");
  }
  out.write_end = ::open(::ptsname(out.read_end), O_RDWR | O_NOCTTY | O_CLOEXEC);
  ::dup3(out.write_end, err.write_end, O_CLOEXEC);
}

[[noreturn]] void exec_program(const std::vector<std::string>& args, const RunOptions& options,
                               const Pipe& out, const Pipe& err, int input) {
  if (!options.folder.empty() && ::chdir(options.folder.c_str()) != 0) _exit(126);
  int out_fd = out.write_end;
  if (!options.stdout_file.empty()) out_fd = ::open(options.stdout_file.c_str(), O_WRONLY);
  int err_fd = err.write_end;
  if (!options.stderr_file.empty()) err_fd = ::open(options.stderr_file.c_str(), O_WRONLY);
  if (::dup2(input, 0) < 0 || ::dup2(out_fd, 1) < 0 || ::dup2(err_fd, 2) < 0) _exit(126);
  for (const std::string& entry : options.environment) {
    const size_t equals = entry.find('=');
    ::setenv(entry.substr(0, equals).c_str(), entry.c_str() + equals + 1, 1);
  }
  std::vector<char*> argv = {const_cast<char*>(TWOFOLD_PROGRAM)};
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  ::execv(TWOFOLD_PROGRAM, argv.data());
  _exit(127);
}

/// Where standard input comes from: the terminal, a file with the text, or nothing.
int open_input(const RunOptions& options, const Pipe& out) {
  if (!options.steps.empty()) return ::fcntl(out.write_end, F_DUPFD_CLOEXEC, 0);
  if (options.input.empty()) return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int file = ::memfd_create("input", MFD_CLOEXEC);
  if (::write(file, options.input.data(), options.input.size()) != std::ssize(options.input)) {
    throw std::runtime_error("no input");
  }
  ::lseek(file, 0, SEEK_SET);
  return file;
}

/// Does the steps whose time has come. @param seen end of what the last one waited for.
void act(const RunOptions& options, const std::string& out, int terminal, pid_t child, size_t& next,
         size_t& seen) {
  while (next < options.steps.size()) {
    const TerminalStep& step = options.steps[next];
    const size_t found = out.find(step.after, seen);
    if (found == std::string::npos) return;
    seen = found + step.after.size();
    ++next;
    if (step.signal != 0) ::kill(child, step.signal);
    if (::write(terminal, step.types.data(), step.types.size()) < 0) return;
  }
}

/// Appends what is there to `text`; closes the end when the writer has gone.
void read_some(int& fd, std::string& text) {
  std::array<char, 4096> buffer{};
  const ssize_t count = ::read(fd, buffer.data(), buffer.size());
  if (count > 0) {
    text.append(buffer.data(), static_cast<size_t>(count));
  } else {
    Pipe::close_end(fd);
  }
}

}  // namespace

RunResult run_twofold(const std::vector<std::string>& args, const RunOptions& options) {
  Pipe out, err;
  if (options.on_terminal || !options.steps.empty()) use_terminal(out, err);
  int input = open_input(options, out);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) exec_program(args, options, out, err, input);
  Pipe::close_end(input);
  Pipe::close_end(out.write_end);
  Pipe::close_end(err.write_end);

  RunResult result;
  const Clock::time_point start = Clock::now();
  Clock::time_point signalled = start;
  bool sent = false;
  size_t next_step = 0, seen = 0;
  while (out.read_end >= 0 || err.read_end >= 0) {
    std::array<pollfd, 2> ends = {pollfd{out.read_end, POLLIN, 0}, pollfd{err.read_end, POLLIN, 0}};
    ::poll(ends.data(), ends.size(), options.signal_when_exists.empty() ? 1000 : 2);
    if (ends[0].revents != 0) read_some(out.read_end, result.out);
    if (ends[1].revents != 0) read_some(err.read_end, result.err);
    if (out.read_end >= 0) act(options, result.out, out.read_end, child, next_step, seen);
    if (!result.out.empty() && options.close_stdout_early) Pipe::close_end(out.read_end);
    const bool now = options.signal_when_exists.empty()
                         ? !result.out.empty()
                         : std::filesystem::exists(options.signal_when_exists);
    if (now && options.signal_after_first_output != 0 && !sent) {
      ::kill(child, options.signal_after_first_output);
      signalled = Clock::now();
      sent = true;
    }
    if (std::chrono::duration<double>(Clock::now() - start).count() > options.timeout_seconds) {
      ::kill(child, SIGKILL);
      ADD_FAILURE() << "the program did not end in " << options.timeout_seconds << " seconds";
      break;
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  result.seconds_after_signal = std::chrono::duration<double>(Clock::now() - signalled).count();
  result.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

}  // namespace twofold::testing

// Output of the program. Results go to standard output through Output, which notices a full disk
// and a closed pipe; progress and log lines go to standard error through Console.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace twofold::cli {

/// Puts something in place of standard streams that are closed, so that no file that is opened
/// later gets their numbers and with them what is written to standard error. Call it first.
void keep_standard_streams();

/// Thrown when the reader of standard output has gone: the program ends quietly.
struct ClosedPipe {};

/// Standard output.
class Output {
 public:
  /// Writes and flushes. @throws Error(kIo) if the system refuses, Error(kCancelled) if a signal
  /// came while the reader kept it waiting, ClosedPipe.
  void write(std::string_view text);
  bool is_terminal() const;
};

/// Writes to standard error. What it refuses is lost: there is no other place to say so.
void write_error(const std::string& text) noexcept;

/// "twofold: <message>" as one line on standard error, whatever a file name or a found value in it
/// contains.
void write_error_line(std::string message);

/// Standard error: log lines, and one progress bar if it is a terminal. One thread at a time.
class Console {
 public:
  /// @throws Error(kInvalidArgument) on an unknown value of the environment variable TWOFOLD_LOG
  /// ("on" or "off").
  explicit Console(bool quiet);
  ~Console();
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  void log(std::string_view line);
  /// Draws `done` of `total` steps with rate and time left, at most ten times a second.
  void progress(std::string_view what, int64_t done, int64_t total);
  /// Removes the bar, before anything else is written to the terminal.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool shows_log_, shows_bar_;
  bool drawn_ = false;
  std::string what_;
  int64_t first_done_ = 0, total_ = 0;
  Clock::time_point start_{}, last_{};
};

}  // namespace twofold::cli

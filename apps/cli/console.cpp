#include "console.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "interrupt.h"

namespace twofold::cli {

namespace {

bool logs_by_environment() {
  const char* value = std::getenv("TWOFOLD_LOG");
  if (value == nullptr || std::strcmp(value, "on") == 0) return true;
  if (std::strcmp(value, "off") == 0) return false;
  fail(ErrorCode::kInvalidArgument, "TWOFOLD_LOG", "expected on or off, found '{}'", value);
}

std::string minutes_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::clamp(seconds, 0.0, 359999.0) + 0.5);
  if (whole >= 3600)
    return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

void keep_standard_streams() {
  // open() takes the lowest free number. Standard output is opened for reading, so that writing to
  // it fails as it did when it was closed.
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) != -1) continue;
    const int opened = ::open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
    if (opened != fd) _exit(1);
  }
}

void write_error(const std::string& text) noexcept {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

void write_error_line(std::string message) {
  std::ranges::replace_if(
      message, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, ' ');
  write_error("twofold: " + message + "\n");
}

void Output::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(STDOUT_FILENO, text.data(), text.size());
    if (count >= 0) {
      text.remove_prefix(static_cast<size_t>(count));
    } else if (errno == EPIPE) {
      throw ClosedPipe{};
    } else if (errno != EINTR) {
      fail(ErrorCode::kIo, "standard output", "{}", std::strerror(errno));
    } else if (interrupted()) {
      fail(ErrorCode::kCancelled, "", "interrupted");
    }
  }
}

bool Output::is_terminal() const { return ::isatty(STDOUT_FILENO) == 1; }

Console::Console(bool quiet)
    : shows_log_(!quiet && logs_by_environment()),
      shows_bar_(!quiet && ::isatty(STDERR_FILENO) == 1) {}

Console::~Console() { clear(); }

void Console::log(std::string_view line) {
  if (!shows_log_) return;
  clear();
  write_error(fmt::format("{}\n", line));
}

void Console::progress(std::string_view what, int64_t done, int64_t total) {
  if (!shows_bar_ || total <= 0) return;
  const Clock::time_point now = Clock::now();
  what_ = what;
  if (total != total_ || done < first_done_) {  // other work; phases of one have one total
    total_ = total;
    first_done_ = done;
    start_ = now;
    last_ = {};
  }
  using Seconds = std::chrono::duration<double>;
  if (done < total && Seconds(now - last_).count() < 0.1) return;
  last_ = now;
  const double elapsed = Seconds(now - start_).count();
  const double rate = elapsed > 0 ? static_cast<double>(done - first_done_) / elapsed : 0;
  constexpr int64_t kWidth = 24;
  const int64_t filled = std::clamp<int64_t>(done * kWidth / total, 0, kWidth);
  std::string line = fmt::format("\r\x1b[K{} [{}{}] {}/{}", what_, std::string(filled, '#'),
                                 std::string(kWidth - filled, '.'), done, total);
  if (rate > 0) {
    line += fmt::format("  {:.{}f}/s  {} left", rate, rate < 10 ? 1 : 0,
                        minutes_text(static_cast<double>(total - done) / rate));
  }
  write_error(line);
  drawn_ = true;
}

void Console::clear() {
  if (!drawn_) return;
  write_error("\r\x1b[K");
  drawn_ = false;
}

}  // namespace twofold::cli

// Error: the one exception type of the library. Edges (command line, server, Python) map its code
// to an exit status, an HTTP status or an exception class, once each. The library never prints,
// exits or aborts. Thread-safe: functions only.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace twofold {

enum class ErrorCode {
  kInvalidArgument,  // the caller asked for something that is not offered: exit status 2
  kCorruptFile,      // a file is not what its format says
  kUnsupported,      // a file is well formed, but this program does not handle what it holds
  kIo,               // the operating system refused (missing, no space, permission)
  kCancelled,        // the caller's cancel flag was set: exit status 130
  kInternal,         // a bug of ours, found by a check
};

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

/// Throws Error with the text "<where>: <what>". `where` names the file, tensor or flag.
[[noreturn]] void fail(ErrorCode code, std::string_view where, std::string_view what);

/// Throws Error; the text after `where` is formatted by fmt.
template <class... Args>
[[noreturn]] void fail(ErrorCode code, std::string_view where, fmt::format_string<Args...> format,
                       Args&&... args) requires(sizeof...(Args) > 0) {
  fail(code, where, std::string_view(fmt::format(format, std::forward<Args>(args)...)));
}

/// States what only a bug of ours could break; throws Error(kInternal). Never for user or file
/// data.
#define TWOFOLD_ASSERT(condition) \
  ((condition) ? void(0) : ::twofold::fail(::twofold::ErrorCode::kInternal, __FILE__, #condition))

}  // namespace twofold

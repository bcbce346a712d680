// twofold: the program. Finds the command, runs it, and maps what it throws to an exit status.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <new>

#include "base/error.h"
#include "base/version.h"
#include "commands.h"
#include "console.h"
#include "interrupt.h"
#include "session.h"

namespace twofold::cli {

namespace {

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return 2;
    case ErrorCode::kCancelled:
      return interrupted_status();
    case ErrorCode::kCorruptFile:
    case ErrorCode::kUnsupported:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return 1;
  }
  return 1;
}

int report(std::string message, int status) {
  write_error_line(std::move(message));
  return status;
}

/// The command line as a shell would take it.
std::string quoted(const std::vector<std::string>& args) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%";
  std::string line = "twofold";
  for (const std::string& arg : args) {
    line += ' ';
    if (!arg.empty() && arg.find_first_not_of(kPlain) == std::string::npos) {
      line += arg;
      continue;
    }
    line += '\'';
    for (const char c : arg) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

const Command& command_named(const std::vector<Command>& commands, const std::string& name) {
  const auto found = std::ranges::find(commands, name, &Command::name);
  if (found != commands.end()) return *found;
  std::string names;
  for (const Command& command : commands) names += command.name + ", ";
  fail(ErrorCode::kInvalidArgument, "", "expected one of {}--version or --help; found '{}'", names,
       name);
}

void run(const std::vector<std::string>& args) {
  const std::vector<Command> commands = all_commands();
  const std::string name = args.empty() ? "--help" : args[0];
  Output out;
  if (name == "--version") return out.write(fmt::format("twofold {}\n", kVersion));
  if (name == "--help" || name == "-h" || name == "help") {
    const bool markdown = args.size() > 1 && args[1] == "--markdown";
    if (markdown) return out.write(markdown_reference());
    const bool of_command = name == "help" && args.size() > 1;
    return out.write(of_command ? help_text(command_named(commands, args[1]))
                                : help_text(commands));
  }
  const Command& command = command_named(commands, name);
  parse_flags(command, std::span(args).subspan(1));
  if (command.common->help) return out.write(help_text(command));
  Session session(*command.common, quoted(args));
  command.run(session);
}

int guarded(const std::vector<std::string>& args) {
  try {
    run(args);
    return 0;
  } catch (const ClosedPipe&) {
    end_by_closed_pipe();
  } catch (const Error& error) {
    return report(error.what(), status_of(error.code()));
  } catch (const std::bad_alloc&) {
    return report("not enough memory", 1);
  } catch (const std::exception& error) {
    return report(fmt::format("unexpected error: {}", error.what()), 1);
  } catch (...) {
    return report("unexpected error", 1);
  }
}

}  // namespace

}  // namespace twofold::cli

int main(int argc, char** argv) {
  twofold::cli::keep_standard_streams();
  twofold::cli::install_signal_handlers();
  return twofold::cli::guarded({argv + 1, argv + std::max(argc, 1)});
}

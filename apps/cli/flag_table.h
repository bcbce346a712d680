// Flag tables: each command is one table of rows that parses its arguments, prints its help and
// makes its page of docs/cli.md. A row says what the flag is called, what values it takes and where
// the value goes; the default shown is the value found there before parsing.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace twofold::cli {

class Session;

/// A named value with its meaning; rows of a registry become these.
struct Choice {
  std::string name, help = {};
};

/// An entry of a map of settings: absent until the flag is given.
struct MapEntry {
  std::map<std::string, std::string>* values;
  std::string key;
};

/// Where a flag's value goes. Its type is the flag's type: bool is a switch, a vector of texts
/// takes several values, a vector of numbers a list with commas, an optional has no default.
using Target = std::variant<bool*, int64_t*, uint64_t*, float*, std::string*, std::vector<int64_t>*,
                            std::vector<std::string>*, std::optional<int64_t>*,
                            std::optional<double>*, std::optional<std::string>*, MapEntry>;

struct Flag {
  std::string names;       // "-p,--prompt"; without dashes it is a position: "MODEL"
  std::string value = {};  // stands for the value in help: "FILE"; "FILE..." takes several
  Target target;
  std::string help = {};
  double min = -std::numeric_limits<double>::infinity();  // inclusive, for numbers
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;            // min itself is not accepted
  std::vector<Choice> choices = {};  // the only values accepted, if not empty
  bool required = false;
  std::string fallback = {};  // default in words where the target's value says too little

  bool is_positional() const { return names.front() != '-'; }
  bool is_switch() const { return std::holds_alternative<bool*>(target); }
  /// The last name: "--prompt".
  std::string main_name() const;
  /// The default as text; empty if there is none.
  std::string default_text() const;
};

/// A key of a command's --json output.
struct JsonKey {
  std::string key, meaning;
};

/// Settings that every command has.
struct CommonFlags {
  bool help = false, quiet = false, json = false;
  int64_t threads = 0;
};

struct Command {
  std::string name, summary, details = {};
  std::shared_ptr<CommonFlags> common;
  std::vector<Flag> flags;
  std::vector<JsonKey> json_keys = {};
  std::function<void(Session&)> run;
};

/// Rows for --threads, --quiet and --help; the commands that have it add json_flag themselves.
std::vector<Flag> common_flags(CommonFlags& common);
Flag json_flag(CommonFlags& common);

/// Fills the targets. Required rows are checked unless --help was given.
/// @throws Error(kInvalidArgument): unknown flag (the valid ones are listed), value missing, of the
/// wrong type, out of range or not one of the choices.
void parse_flags(const Command& command, std::span<const std::string> args);

/// Help for a terminal, 100 columns.
std::string help_text(const Command& command);
std::string help_text(std::span<const Command> commands);

}  // namespace twofold::cli

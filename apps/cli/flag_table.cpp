#include "flag_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "base/error.h"

namespace twofold::cli {

namespace {

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

template <class T>
std::string plain_text(const T& value) {
  if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    return fmt::format("{}", fmt::join(value, " "));
  } else if constexpr (std::is_same_v<T, std::vector<int64_t>>) {
    return fmt::format("{}", fmt::join(value, ","));
  } else {
    return fmt::format("{}", value);
  }
}

std::string range_text(const Flag& flag, std::string_view kind) {
  const bool low = std::isfinite(flag.min), high = std::isfinite(flag.max);
  if (flag.above_min) {
    return fmt::format("{} above {}{}", kind, flag.min,
                       high ? fmt::format(", at most {}", flag.max) : "");
  }
  if (low && high) return fmt::format("{} from {} to {}", kind, flag.min, flag.max);
  if (low) return fmt::format("{} of at least {}", kind, flag.min);
  if (high) return fmt::format("{} of at most {}", kind, flag.max);
  return std::string(kind);
}

template <class T>
T parse_number(const Flag& flag, const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const double number = static_cast<double>(value);
  const bool ok = error == std::errc() && stop == end && !text.empty() && std::isfinite(number) &&
                  (flag.above_min ? number > flag.min : number >= flag.min) && number <= flag.max;
  if (!ok) {
    fail(ErrorCode::kInvalidArgument, flag.main_name(), "expected {}, found '{}'",
         range_text(flag, std::is_integral_v<T> ? "an integer" : "a number"), text);
  }
  return value;
}

/// "1,2,4"; every number within the range of the flag.
std::vector<int64_t> parse_numbers(const Flag& flag, const std::string& text) {
  std::vector<int64_t> numbers;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    numbers.push_back(parse_number<int64_t>(flag, text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return numbers;
}

void check_choice(const Flag& flag, const std::string& text) {
  if (flag.choices.empty()) return;
  std::vector<std::string> names;
  for (const Choice& choice : flag.choices) {
    if (choice.name == text) return;
    names.push_back(choice.name);
  }
  fail(ErrorCode::kInvalidArgument, flag.main_name(), "expected one of {}; found '{}'",
       fmt::join(names, ", "), text);
}

template <class T>
void store_value(const Flag& flag, const std::string& text, T& out) {
  if constexpr (IsOptional<T>::value) {
    store_value(flag, text, out.emplace());
  } else if constexpr (std::is_arithmetic_v<T>) {
    out = parse_number<T>(flag, text);
  } else if constexpr (std::is_same_v<T, std::vector<int64_t>>) {
    out = parse_numbers(flag, text);
  } else {
    check_choice(flag, text);
    out = text;
  }
}

void store(const Flag& flag, const std::vector<std::string>& values) {
  if (const auto* list = std::get_if<std::vector<std::string>*>(&flag.target)) {
    for (const std::string& value : values) check_choice(flag, value);
    **list = values;
  } else if (const auto* entry = std::get_if<MapEntry>(&flag.target)) {
    check_choice(flag, values.back());
    (*entry->values)[entry->key] = values.back();
  } else if (const auto* on = std::get_if<bool*>(&flag.target)) {
    **on = true;
  } else {
    std::visit(
        [&](auto target) {
          using T = std::decay_t<decltype(target)>;
          if constexpr (std::is_pointer_v<T> && !std::is_same_v<T, bool*> &&
                        !std::is_same_v<T, std::vector<std::string>*>) {
            store_value(flag, values.back(), *target);
          }
        },
        flag.target);
  }
}

std::string usage(const Command& command) {
  std::string text = fmt::format("twofold {}", command.name);
  for (const Flag& flag : command.flags) {
    if (flag.is_positional()) {
      text += flag.required ? " " + flag.names : fmt::format(" [{}]", flag.names);
    } else if (flag.required) {
      text += fmt::format(" {} {}", flag.main_name(), flag.value);
    }
  }
  return text + " [flags]";
}

[[noreturn]] void fail_unexpected(const Command& command, const std::string& found) {
  if (found.size() < 2 || found.front() != '-') {
    fail(ErrorCode::kInvalidArgument, command.name, "unexpected argument '{}'; usage: {}", found,
         usage(command));
  }
  std::vector<std::string> names;
  for (const Flag& flag : command.flags) {
    if (!flag.is_positional()) names.push_back(flag.main_name());
  }
  fail(ErrorCode::kInvalidArgument, command.name, "unknown flag '{}'; valid flags: {}", found,
       fmt::join(names, ", "));
}

/// Text broken into lines of at most `width` characters.
std::vector<std::string> wrap(std::string_view text, size_t width) {
  std::vector<std::string> lines(1);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width)
      lines.emplace_back();
    if (!lines.back().empty()) lines.back() += ' ';
    lines.back() += word;
    begin = end + 1;
  }
  return lines;
}

constexpr size_t kHelpWidth = 100, kLeftWidth = 30;

/// "  left      right", the right side wrapped into its own column.
std::string two_columns(const std::string& left, const std::string& right) {
  std::string text = "  " + left;
  std::string gap = "\n" + std::string(kLeftWidth, ' ');
  if (left.size() + 3 <= kLeftWidth) {
    text.resize(kLeftWidth, ' ');
    gap.clear();
  }
  for (const std::string& line : wrap(right, kHelpWidth - kLeftWidth)) {
    text += gap + line;
    gap = "\n" + std::string(kLeftWidth, ' ');
  }
  return text + "\n";
}

std::string flag_help(const Flag& flag) {
  std::string names = flag.names;
  if (const size_t comma = names.find(','); comma != std::string::npos)
    names.insert(comma + 1, " ");
  std::string text = flag.help;
  if (const std::string fallback = flag.default_text(); !fallback.empty()) {
    text += fmt::format(" (default: {})", fallback);
  }
  return two_columns(flag.value.empty() ? names : names + " " + flag.value, text);
}

}  // namespace

std::string Flag::main_name() const {
  const size_t comma = names.rfind(',');
  return comma == std::string::npos ? names : names.substr(comma + 1);
}

std::string Flag::default_text() const {
  if (!fallback.empty() || is_switch()) return fallback;
  return std::visit(
      [](auto place) -> std::string {
        using T = std::decay_t<decltype(place)>;
        if constexpr (std::is_same_v<T, MapEntry>) {
          return {};
        } else if constexpr (IsOptional<std::remove_pointer_t<T>>::value) {
          return place->has_value() ? plain_text(**place) : std::string();
        } else {
          return plain_text(*place);
        }
      },
      target);
}

std::vector<Flag> common_flags(CommonFlags& common) {
  return {
      {.names = "-t,--threads",
       .value = "N",
       .target = &common.threads,
       .help = "threads of the pool; results do not depend on it",
       .min = 0,
       .max = 1024,
       .fallback = "physical cores this process may use"},
      {.names = "--quiet",
       .target = &common.quiet,
       .help = "no progress and no log lines on standard error; errors still go there"},
      {.names = "-h,--help", .target = &common.help, .help = "this text"},
  };
}

Flag json_flag(CommonFlags& common) {
  return {.names = "--json",
          .target = &common.json,
          .help = "one JSON object on standard output instead of text"};
}

void parse_flags(const Command& command, std::span<const std::string> args) {
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  std::vector<std::pair<const Flag*, std::vector<std::string>>> given;
  for (const Flag& flag : command.flags) {
    const CLI::callback_t take = [&given, &flag](const CLI::results_t& values) {
      given.emplace_back(&flag, values);
      return true;
    };
    if (flag.is_switch()) {
      app.add_flag_callback(flag.names, [&given, &flag] { given.push_back({&flag, {}}); });
      continue;
    }
    CLI::Option* option = app.add_option(flag.names, take);
    if (std::holds_alternative<std::vector<std::string>*>(flag.target)) {
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
      if (flag.value.ends_with("...")) option->expected(-1);
    }
  }
  // CLI11 takes arguments in reverse order.
  std::vector<std::string> reversed(args.rbegin(), args.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    fail(ErrorCode::kInvalidArgument, command.name, "{}", error.what());
  }
  for (const auto& [flag, values] : given) store(*flag, values);
  if (command.common->help) return;
  if (const auto extra = app.remaining(); !extra.empty()) {
    const auto flag = std::ranges::find_if(extra, [](const auto& e) { return e.starts_with('-'); });
    fail_unexpected(command, flag != extra.end() ? *flag : extra.front());
  }
  for (const Flag& flag : command.flags) {
    const auto is_this = [&](const auto& item) { return item.first == &flag; };
    if (flag.required && std::ranges::none_of(given, is_this)) {
      fail(ErrorCode::kInvalidArgument, command.name, "{} is missing; usage: {}", flag.main_name(),
           usage(command));
    }
  }
}

std::string help_text(const Command& command) {
  std::string text = fmt::format("usage: {}\n\n", usage(command));
  for (const std::string& line : wrap(command.summary, kHelpWidth)) text += line + "\n";
  for (const std::string& line : wrap(command.details, kHelpWidth)) text += line + "\n";
  text += "\n";
  for (const Flag& flag : command.flags) text += flag_help(flag);
  for (const Flag& flag : command.flags) {
    if (flag.choices.empty()) continue;
    text += fmt::format("\n{} {}:\n", flag.main_name(), flag.value);
    for (const Choice& choice : flag.choices) text += two_columns(choice.name, choice.help);
  }
  if (command.json_keys.empty()) return text;
  text += "\nkeys of the JSON object:\n";
  for (const JsonKey& key : command.json_keys) text += two_columns(key.key, key.meaning);
  return text;
}

std::string help_text(std::span<const Command> commands) {
  std::string text =
      "usage: twofold COMMAND [flags]\n\nQuantizes language models to a few bits per weight and "
      "runs "
      "them on the CPU.\n\n";
  for (const Command& command : commands) text += two_columns(command.name, command.summary);
  text += "\n";
  text += two_columns("COMMAND --help", "flags of a command");
  text += two_columns("--version", "version of the program");
  return text;
}

}  // namespace twofold::cli

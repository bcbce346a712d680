// docs/cli.md, made from the flag tables and the registries.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "commands.h"
#include "formats/format.h"
#include "pipeline/recipe.h"

namespace twofold::cli {

namespace {

/// Text inside a table cell.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

std::string flag_row(const Flag& flag) {
  std::string names;
  for (const char c : flag.names) names += c == ',' ? std::string("`, `") : std::string(1, c);
  const std::string value = flag.value.empty() ? "" : fmt::format(" `{}`", cell(flag.value));
  return fmt::format("| `{}`{} | {} | {}{} |\n", names, value, cell(flag.default_text()),
                     cell(flag.help), flag.required ? " (required)" : "");
}

std::string choice_list(std::string_view title, const std::vector<Choice>& choices) {
  std::string text = fmt::format("\n{}:\n\n", title);
  for (const Choice& choice : choices) {
    text += fmt::format("- `{}`{}{}\n", choice.name, choice.help.empty() ? "" : ": ", choice.help);
  }
  return text;
}

std::string command_section(const Command& command) {
  std::string text = fmt::format("\n## twofold {}\n\n{}", command.name, command.summary);
  if (!command.details.empty()) text += " " + command.details;
  text += "\n\n| flag | default | meaning |\n|---|---|---|\n";
  for (const Flag& flag : command.flags) text += flag_row(flag);
  for (const Flag& flag : command.flags) {
    if (flag.choices.empty()) continue;
    text += choice_list(fmt::format("Values of `{}`", flag.main_name()), flag.choices);
  }
  if (command.json_keys.empty()) return text;
  text += "\n| key of the JSON output | meaning |\n|---|---|\n";
  for (const JsonKey& key : command.json_keys) {
    text += fmt::format("| `{}` | {} |\n", key.key, cell(key.meaning));
  }
  return text;
}

std::string registries_section() {
  std::vector<Choice> families, roles, formats;
  for (const Family* family : all_families()) {
    families.push_back(
        {std::string(family->name), fmt::format("{}", fmt::join(family->architectures, ", "))});
  }
  for (const Role role : all_roles()) roles.push_back({std::string(role_name(role))});
  for (const FormatFamily& family : all_format_families()) {
    formats.push_back({std::string(family.name), std::string(family.help)});
  }
  return "\n## What there is\n" + choice_list("Families of models", families) +
         choice_list("Roles of tensors, for recipes", roles) +
         choice_list("Families of byte layouts", formats);
}

constexpr std::string_view kIntroduction =
    "# The command line\n\n"
    "Made by `twofold help --markdown > docs/cli.md`; a test compares.\n\n"
    "`twofold COMMAND [flags]`; `twofold --version`; `twofold help`; `twofold COMMAND --help`.\n\n"
    "Results go to standard output, progress and log lines to standard error. A progress bar "
    "appears only if standard error is a terminal.\n\n"
    "| exit status | meaning |\n|---|---|\n"
    "| 0 | done |\n"
    "| 1 | a file is missing or wrong, the disk is full, memory is short: one line says which "
    "file, "
    "what was expected and what was found |\n"
    "| 2 | a flag is unknown, out of range, or does not go with another: the valid choices are "
    "listed |\n"
    "| 130 | interrupted by Ctrl-C; a second Ctrl-C ends the program at once |\n\n"
    "| environment variable | meaning |\n|---|---|\n"
    "| `TWOFOLD_ISA` | highest instruction set to use: `scalar`, `avx2`, `avx512`; default: the "
    "best "
    "of this CPU |\n"
    "| `TWOFOLD_LOG` | `on` (default) or `off`: log lines on standard error |\n";

}  // namespace

std::string markdown_reference() {
  std::string text(kIntroduction);
  for (const Command& command : all_commands()) text += command_section(command);
  return text + registries_section();
}

}  // namespace twofold::cli

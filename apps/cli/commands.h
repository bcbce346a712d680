// The commands of the program, one file each.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "flag_table.h"

namespace twofold::cli {

Command import_command();
Command quantize_command();
Command inspect_command();
Command generate_command();
Command eval_command();
Command compare_command();
Command logits_command();
Command doctor_command();
Command bench_command();
Command demo_command();

/// All of them, in the order of help.
std::vector<Command> all_commands();

/// docs/cli.md: every command with its flags, choices and JSON keys, and the registries.
std::string markdown_reference();

/// Rows that several commands have.
Flag model_flag(std::string& target, std::string names = "MODEL");
Flag tokenizer_flag(std::string& target);
Flag token_ids_flag(std::string& target, std::string help);
/// @param target holds the default.
Flag activations_flag(std::string& target);
Flag seed_flag(uint64_t& target, std::string help);
Flag output_flag(std::string& target);
Flag force_flag(bool& target);

/// Names and help of a registry whose rows have these members.
template <class Rows>
std::vector<Choice> choices_of(const Rows& rows) {
  std::vector<Choice> choices;
  for (const auto& row : rows) choices.push_back({std::string(row.name), std::string(row.help)});
  return choices;
}

}  // namespace twofold::cli

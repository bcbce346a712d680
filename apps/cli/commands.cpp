#include "commands.h"

#include <algorithm>

#include "base/context.h"

namespace twofold::cli {

std::vector<Command> all_commands() {
  std::vector<Command> commands = {
      import_command(),  quantize_command(), inspect_command(), generate_command(), eval_command(),
      compare_command(), logits_command(),   doctor_command(),  bench_command(),    demo_command()};
  for (Command& command : commands) {
    for (Flag& flag : common_flags(*command.common)) {
      // A command may have a row of that name that means more.
      const auto same = [&](const Flag& own) { return own.names == flag.names; };
      if (std::ranges::none_of(command.flags, same)) command.flags.push_back(std::move(flag));
    }
  }
  return commands;
}

Flag model_flag(std::string& target, std::string names) {
  return {
      .names = std::move(names),
      .target = &target,
      .help = "Hugging Face folder, folder written by quantize, GGUF file, or llama2.c .bin file",
      .required = true};
}

Flag tokenizer_flag(std::string& target) {
  return {.names = "--tokenizer",
          .value = "FILE",
          .target = &target,
          .help = "tokenizer.json, SentencePiece .model, llama2.c .bin, GGUF file, or a folder",
          .fallback = "found beside the model"};
}

Flag token_ids_flag(std::string& target, std::string help) {
  return {.names = "--token-ids", .value = "FILE", .target = &target, .help = std::move(help)};
}

Flag activations_flag(std::string& target) {
  return {.names = "--activations",
          .value = "TYPE",
          .target = &target,
          .help = "what packed matrices are multiplied by",
          .choices = choices_of(all_activations())};
}

Flag seed_flag(uint64_t& target, std::string help) {
  return {.names = "-s,--seed", .value = "N", .target = &target, .help = std::move(help)};
}

Flag output_flag(std::string& target) {
  return {.names = "-o,--output",
          .value = "DIR",
          .target = &target,
          .help = "folder to write; it appears only when complete",
          .required = true};
}

Flag force_flag(bool& target) {
  return {.names = "--force", .target = &target, .help = "replace an existing model folder"};
}

}  // namespace twofold::cli

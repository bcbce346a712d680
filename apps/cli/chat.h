// Conversations of `generate --chat`: the model's chat template around what the user says, one
// cache for all turns.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/generate.h"
#include "engine/load_chat_template.h"
#include "session.h"

namespace twofold::cli {

struct ChatFlags {
  bool chat = false;
  std::string system, template_file;
  std::vector<std::string> template_args;  // NAME=JSON
};

std::vector<Flag> chat_flags(ChatFlags& flags);
/// @throws Error(kInvalidArgument) if flags that go with --chat are given without it.
void check_chat_flags(const ChatFlags& flags);

class Chat {
 public:
  struct Parts {
    const Model& model;
    const Tokenizer& tokenizer;
    const ChatFlags& flags;
    GenerateOptions options;  // with a context
  };
  /// @throws Error(kInvalidArgument) if the model has no template, or on a bad --template-arg;
  /// Error as ChatTemplate.
  Chat(Parts parts, Session& session);

  /// Says something to the model; its answer is printed as it comes, unless --json was given, and
  /// remembered, also when it is interrupted. Where the conversation outgrows the context its
  /// oldest turns are forgotten. @throws Error(kInvalidArgument) if this message alone does not
  /// fit; it is not remembered then.
  GenerateResult answer(const std::string& said);
  /// Answers each line of standard input, up to its end. On a terminal it asks for them, Ctrl-C
  /// ends an answer, and what cannot be answered is said in a line.
  void run(const std::function<void(const GenerateResult&)>& on_answer);

 private:
  bool answer_line(const std::string& line, bool asks, GenerateResult& result);
  std::vector<int32_t> fitting_ids();

  Parts parts_;
  Session& session_;
  ChatTemplate template_;
  ChatOptions template_options_;
  TokenCache cache_;
  Sampler sampler_;  // one stream of random numbers for all turns
  OrderedJson messages_ = OrderedJson::array();
};

}  // namespace twofold::cli

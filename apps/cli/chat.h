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
  /// remembered. @throws Error(kInvalidArgument) if the conversation does not fit the context.
  GenerateResult answer(const std::string& said);
  /// Answers each line of standard input, up to its end. On a terminal it asks for them.
  void run(const std::function<void(const GenerateResult&)>& on_answer);

 private:
  Parts parts_;
  Session& session_;
  ChatTemplate template_;
  ChatOptions template_options_;
  TokenCache cache_;
  OrderedJson messages_ = OrderedJson::array();
};

}  // namespace twofold::cli

#include "chat.h"

#include <unistd.h>

#include <ctime>
#include <iostream>

#include "interrupt.h"

namespace twofold::cli {

namespace {

ChatTemplateSource require_template(const Model& model, const Tokenizer& tokenizer,
                                    const ChatFlags& flags) {
  auto source = load_chat_template(model.files(), tokenizer, flags.template_file);
  if (!source) {
    fail(ErrorCode::kInvalidArgument, model.files().path.string(),
         "expected a chat template for --chat, found none; give --chat-template FILE");
  }
  return *std::move(source);
}

jinja::LocalTime local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  return {parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
          parts.tm_hour,        parts.tm_min,     parts.tm_sec};
}

OrderedJson template_arguments(const std::vector<std::string>& given) {
  OrderedJson arguments = OrderedJson::object();
  for (const std::string& text : given) {
    const size_t sign = text.find('=');
    const std::string value = sign == std::string::npos ? "" : text.substr(sign + 1);
    if (sign == 0 || !OrderedJson::accept(value)) {
      fail(ErrorCode::kInvalidArgument, "--template-arg",
           "expected NAME=JSON, such as enable_thinking=false; found '{}'", text);
    }
    arguments[text.substr(0, sign)] = OrderedJson::parse(value);
  }
  return arguments;
}

}  // namespace

std::vector<Flag> chat_flags(ChatFlags& flags) {
  return {
      {.names = "--chat",
       .target = &flags.chat,
       .help = "answers the prompt as the model's chat template has it; without a prompt, each "
               "line of standard input in turn"},
      {.names = "--system",
       .value = "TEXT",
       .target = &flags.system,
       .help = "what a conversation begins with: the message of the system"},
      {.names = "--chat-template",
       .value = "FILE",
       .target = &flags.template_file,
       .help = "a Jinja template in place of the model's"},
      {.names = "--template-arg",
       .value = "NAME=JSON",
       .target = &flags.template_args,
       .help = "a variable for the template, such as enable_thinking=false; may be given several "
               "times"},
  };
}

void check_chat_flags(const ChatFlags& flags) {
  if (flags.chat) return;
  const auto refuse = [](bool given, std::string_view name) {
    if (given) fail(ErrorCode::kInvalidArgument, name, "goes with --chat only");
  };
  refuse(!flags.system.empty(), "--system");
  refuse(!flags.template_file.empty(), "--chat-template");
  refuse(!flags.template_args.empty(), "--template-arg");
}

Chat::Chat(Parts parts, Session& session)
    : parts_(std::move(parts)),
      session_(session),
      template_(require_template(parts_.model, parts_.tokenizer, parts_.flags)),
      template_options_{.arguments = template_arguments(parts_.flags.template_args),
                        .render = {.clock = local_time}},
      cache_(parts_.model, parts_.options.context, parts_.options.kv_cache) {
  parts_.options.cache = &cache_;
  if (const int32_t end = template_.end_token(parts_.tokenizer, template_options_); end >= 0) {
    if (!parts_.options.ignore_eos) parts_.options.end_ids.push_back(end);
  }
  if (!parts_.flags.system.empty())
    messages_.push_back(chat_message("system", parts_.flags.system));
}

GenerateResult Chat::answer(const std::string& said) {
  messages_.push_back(chat_message("user", said));
  const std::vector<int32_t> ids = template_.encode(messages_, parts_.tokenizer, template_options_);
  if (std::ssize(ids) > parts_.options.context) {
    fail(ErrorCode::kInvalidArgument, "--chat",
         "expected a conversation of at most the {} tokens of the context, found {}",
         parts_.options.context, ids.size());
  }
  std::function<void(std::string_view)> stream;
  if (!session_.json()) stream = [this](std::string_view piece) { session_.print(piece); };
  GenerateResult result =
      generate(parts_.model, &parts_.tokenizer, ids, parts_.options, session_.ctx(), stream);
  messages_.push_back(chat_message("assistant", result.text));
  if (!session_.json()) session_.print("\n");
  return result;
}

void Chat::run(const std::function<void(const GenerateResult&)>& on_answer) {
  const bool asks = ::isatty(STDIN_FILENO) == 1 && session_.out().is_terminal();
  std::string line;
  while (true) {
    if (asks) session_.print("> ");
    {
      const EndsAtOnce guard;
      if (!std::getline(std::cin, line)) break;
    }
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) on_answer(answer(line));
  }
  if (asks) session_.print("\n");
}

}  // namespace twofold::cli

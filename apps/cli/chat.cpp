#include "chat.h"

#include <unistd.h>

#include <algorithm>
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
      cache_(parts_.model, parts_.options.context, parts_.options.kv_cache),
      sampler_(parts_.options.sampler) {
  parts_.options.cache = &cache_;
  parts_.options.stream = &sampler_;
  // The ids of the model's files end an answer anyway.
  for (const int32_t end :
       {parts_.tokenizer.eos_id(), template_.end_token(parts_.tokenizer, template_options_)}) {
    if (end >= 0 && !parts_.options.ignore_eos) parts_.options.end_ids.push_back(end);
  }
  if (!parts_.flags.system.empty())
    messages_.push_back(chat_message("system", parts_.flags.system));
}

/// The conversation as ids. Where it leaves too little room for an answer the oldest turns are
/// forgotten, as many as fill half of the context, so that this is not needed for every turn.
std::vector<int32_t> Chat::fitting_ids() {
  const auto encode = [&](const OrderedJson& messages) {
    return template_.encode(messages, parts_.tokenizer, template_options_);
  };
  const int64_t context = parts_.options.context;
  const int64_t wanted = parts_.options.max_tokens < 0 ? context : parts_.options.max_tokens;
  std::vector<int32_t> ids = encode(messages_);
  if (std::ssize(ids) <= context - std::min(wanted, context / 4)) return ids;
  const size_t first = parts_.flags.system.empty() ? 0 : 1;
  OrderedJson kept = messages_;
  int64_t forgotten = 0;
  for (; std::ssize(ids) > context / 2 && kept.size() > first + 1; ++forgotten) {
    kept.erase(first);  // what was said, and what was answered
    kept.erase(first);
    ids = encode(kept);
  }
  if (std::ssize(ids) > context) {
    fail(ErrorCode::kInvalidArgument, "--chat",
         "expected a message that fits the {} tokens of the context, found {} tokens", context,
         ids.size());
  }
  messages_ = std::move(kept);
  if (forgotten > 0) {
    session_.ctx().note(
        fmt::format("the conversation outgrew the context of {} tokens: its oldest "
                    "{} forgotten",
                    context, forgotten == 1 ? "turn is" : fmt::format("{} turns are", forgotten)));
  }
  return ids;
}

GenerateResult Chat::answer(const std::string& said) {
  std::string text;  // of the answer so far
  messages_.push_back(chat_message("user", said));
  try {
    const std::vector<int32_t> ids = fitting_ids();
    const auto stream = [&](std::string_view piece) {
      text += piece;
      if (!session_.json()) session_.print(piece);
    };
    GenerateResult result =
        generate(parts_.model, &parts_.tokenizer, ids, parts_.options, session_.ctx(), stream);
    messages_.push_back(chat_message("assistant", result.text));
    if (!session_.json()) session_.print("\n");
    return result;
  } catch (const Error&) {
    if (text.empty()) {
      messages_.erase(messages_.size() - 1);
    } else {
      messages_.push_back(chat_message("assistant", text));
    }
    throw;
  }
}

/// False if there is no answer, or not all of it, and the conversation goes on.
bool Chat::answer_line(const std::string& line, bool asks, GenerateResult& result) {
  try {
    result = answer(line);
    return true;
  } catch (const Error& error) {
    if (!asks) throw;
    if (error.code() == ErrorCode::kCancelled && forget_interrupt()) {
      session_.print("\n");
    } else if (error.code() == ErrorCode::kInvalidArgument) {
      session_.console().clear();
      write_error_line(error.what());
    } else {
      throw;
    }
    return false;
  }
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
    if (line.empty()) continue;
    if (GenerateResult result; answer_line(line, asks, result)) on_answer(result);
  }
  if (asks) session_.print("\n");
}

}  // namespace twofold::cli

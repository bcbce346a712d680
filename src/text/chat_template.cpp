#include "text/chat_template.h"

#include <array>

#include "text/json_node.h"
#include "text/unicode.h"

namespace twofold {
namespace {

constexpr std::array kTokenNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};

bool is_blank(std::string_view text) { return leading_white_space(text) == text.size(); }

}  // namespace

OrderedJson chat_message(std::string_view role, std::string_view content) {
  return {{"role", role}, {"content", to_valid_utf8(content)}};
}

ChatTemplate::ChatTemplate(ChatTemplateSource source)
    : source_(std::move(source)), template_(source_.text, source_.where) {}

std::string ChatTemplate::render(const OrderedJson& messages, const ChatOptions& options) const {
  OrderedJson variables = {{"messages", messages},
                           {"tools", nullptr},
                           {"documents", nullptr},
                           {"add_generation_prompt", options.add_generation_prompt}};
  for (const auto& [name, text] : source_.tokens) variables[name] = text;
  for (const auto& [name, value] : options.arguments.items()) variables[name] = value;
  return template_.render(variables, options.render);
}

std::vector<int32_t> ChatTemplate::encode(const OrderedJson& messages, const Tokenizer& tokenizer,
                                          const ChatOptions& options) const {
  return tokenizer.encode(render(messages, options), {.add_special = false});
}

int32_t ChatTemplate::end_token(const Tokenizer& tokenizer, const ChatOptions& options) const {
  constexpr std::string_view kAnswer = "AnswerWhoseEndIsSought";
  std::string text;
  try {
    ChatOptions finished = options;
    finished.add_generation_prompt = false;
    text = render({chat_message("user", "Question"), chat_message("assistant", kAnswer)}, finished);
  } catch (const Error&) {
    return -1;  // it asks for more than these two messages
  }
  const size_t found = text.rfind(kAnswer);
  if (found == std::string::npos) return -1;
  for (const int32_t id : tokenizer.encode(text.substr(found + kAnswer.size()))) {
    if (tokenizer.is_special(id)) return id;
    if (is_blank(tokenizer.decode({&id, 1}))) continue;
    return tokenizer.is_added(id) ? id : -1;
  }
  return -1;
}

std::optional<std::string> chat_template_of_json(std::string_view text, std::string_view where) {
  if (text.empty()) return std::nullopt;
  const Json json = parse_json(text, where);
  const JsonNode node(json, "", where);
  if (!json.is_object() || !node.has("chat_template")) return std::nullopt;
  const JsonNode value = node.child("chat_template");
  if (!value.value().is_array()) return value.as_string();
  std::string names;
  for (const JsonNode& entry : node.get_list("chat_template")) {
    const std::string name = entry.get_string("name");
    if (name == "default") return entry.get_string("template");
    append_name(names, name);
  }
  value.corrupt("expected a template named 'default', found: " + names);
}

TokenNames token_names_of_json(std::string_view text, std::string_view where) {
  TokenNames names;
  if (text.empty()) return names;
  const Json json = parse_json(text, where);
  const JsonNode node(json, "", where);
  for (const char* name : kTokenNames) {
    if (!json.is_object() || !node.has(name)) continue;
    const JsonNode token = node.child(name);
    names[name] = token.value().is_object() ? token.get_string("content") : token.as_string();
  }
  return names;
}

}  // namespace twofold

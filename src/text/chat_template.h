// Chat templates: how a model wants a conversation written. A template comes from the files of a
// model together with the tokens that it may name; it is rendered as the transformers library does.
// Text of a user that spells a special token becomes that token, as there.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/jinja/template.h"
#include "text/tokenizer.h"

namespace twofold {

/// Names of tokens as templates know them ("bos_token") and their texts.
using TokenNames = std::map<std::string, std::string>;

/// A template as found in a model's files.
struct ChatTemplateSource {
  std::string text;
  std::string where;  // the file or key it comes from, for messages
  TokenNames tokens;
};

struct ChatOptions {
  bool add_generation_prompt = true;  // ends with what begins the assistant's answer
  /// More variables for the template, an object: tools, enable_thinking ...
  OrderedJson arguments = OrderedJson::object();
  jinja::RenderOptions render = {};
};

/// Thread-safe after construction.
class ChatTemplate {
 public:
  /// @throws Error as jinja::Template.
  explicit ChatTemplate(ChatTemplateSource source);

  /// @param messages a list of objects with "role" and "content".
  /// @throws Error as jinja::Template::render.
  std::string render(const OrderedJson& messages, const ChatOptions& options = {}) const;
  /// The rendered text as ids: special tokens are recognized, and nothing is added to what the
  /// template says, so BOS is there once if the template writes it.
  std::vector<int32_t> encode(const OrderedJson& messages, const Tokenizer& tokenizer,
                              const ChatOptions& options = {}) const;
  /// The token that follows the content of an assistant's message, which ends an answer: a special
  /// one, or one that was added to the vocabulary and is not white space. -1 if there is none, or
  /// if the template does not take the conversation that shows it.
  int32_t end_token(const Tokenizer& tokenizer, const ChatOptions& options = {}) const;

 private:
  ChatTemplateSource source_;
  jinja::Template template_;
};

/// One message. Bytes of `content` that are not UTF-8 become U+FFFD.
OrderedJson chat_message(std::string_view role, std::string_view content);

/// The key chat_template of tokenizer_config.json or chat_template.json (text of the file): a
/// template, or a list of {"name", "template"} of which "default" is taken. None if there is no
/// such key. @throws Error(kCorruptFile) if it is something else.
std::optional<std::string> chat_template_of_json(std::string_view json, std::string_view where);

/// The tokens that tokenizer_config.json or special_tokens_map.json names, as text or as an object
/// with "content". @throws Error(kCorruptFile)
TokenNames token_names_of_json(std::string_view json, std::string_view where);

}  // namespace twofold

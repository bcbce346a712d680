#include "engine/load_chat_template.h"

#include <array>

#include "engine/load_tokenizer.h"
#include "io/file.h"
#include "io/gguf.h"

namespace twofold {
namespace {

namespace fs = std::filesystem;

struct GgufToken {
  const char* key;   // tokenizer.ggml.<key>_token_id
  const char* name;  // of the template's variable
};
constexpr std::array kGgufTokens = {GgufToken{"bos", "bos_token"}, GgufToken{"eos", "eos_token"},
                                    GgufToken{"unknown", "unk_token"},
                                    GgufToken{"padding", "pad_token"}};

ChatTemplateSource of_folder(const fs::path& folder) {
  ChatTemplateSource source;
  for (const char* name : {"special_tokens_map.json", "tokenizer_config.json"}) {
    const fs::path path = folder / name;
    for (auto& [token, text] : token_names_of_json(read_text_or_empty(path), path.string())) {
      source.tokens[token] = std::move(text);
    }
  }
  if (const fs::path path = folder / "chat_template.jinja"; fs::is_regular_file(path)) {
    source.text = read_text_file(path);
    source.where = path.string();
    return source;
  }
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    const fs::path path = folder / name;
    const std::string where = path.string() + ": chat_template";
    if (auto text = chat_template_of_json(read_text_or_empty(path), path.string())) {
      source.text = *std::move(text);
      source.where = where;
      return source;
    }
  }
  return source;
}

ChatTemplateSource of_gguf(const GgufFile& gguf, const Tokenizer& tokenizer) {
  ChatTemplateSource source;
  for (const auto& [key, name] : kGgufTokens) {
    if (const std::string text = tokenizer.token_text(gguf_token_id(gguf, key)); !text.empty()) {
      source.tokens[name] = text;
    }
  }
  if (gguf.has("tokenizer.chat_template")) {
    source.text = gguf.get_string("tokenizer.chat_template");
    source.where = gguf.path + ": tokenizer.chat_template";
  }
  return source;
}

}  // namespace

std::optional<ChatTemplateSource> load_chat_template(const ModelFiles& files,
                                                     const Tokenizer& tokenizer,
                                                     const fs::path& file) {
  ChatTemplateSource source;
  switch (files.container) {
    case Container::kHuggingFace:
      source = of_folder(files.path);
      break;
    case Container::kGguf:
      source = of_gguf(*files.gguf, tokenizer);
      break;
    case Container::kLlama2c:
      break;
  }
  // What the files do not name, the tokenizer may know.
  const auto add = [&](const char* name, int32_t id) {
    if (id >= 0 && !source.tokens.contains(name)) source.tokens[name] = tokenizer.token_text(id);
  };
  add("bos_token", tokenizer.bos_id());
  add("eos_token", tokenizer.eos_id());
  if (!file.empty()) {
    source.text = read_text_file(file);
    source.where = file.string();
  }
  if (source.where.empty()) return std::nullopt;
  return source;
}

}  // namespace twofold

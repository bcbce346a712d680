#include "text/tokenizer_config.h"

#include <charconv>

#include "text/pipeline_tokenizer.h"

namespace twofold {
namespace {

/// A token given as text or as an object with its flags.
std::string token_content(const JsonNode& node) {
  return node.value().is_object() ? node.get_string("content") : node.as_string();
}

std::optional<std::string> optional_token(const JsonNode& node, std::string_view key) {
  if (!node.has(key)) return std::nullopt;
  return token_content(node.child(key));
}

std::optional<bool> optional_bool(const JsonNode& node, std::string_view key) {
  if (!node.has(key)) return std::nullopt;
  return node.get_bool(key);
}

}  // namespace

TokenizerConfig read_tokenizer_config(std::string_view text, std::string_view where) {
  TokenizerConfig config;
  if (text.empty()) return config;
  const Json json = parse_json(text, where);
  const JsonNode node(json, "tokenizer_config", where);
  config.bos_token = optional_token(node, "bos_token");
  config.eos_token = optional_token(node, "eos_token");
  config.unk_token = optional_token(node, "unk_token");
  config.pad_token = optional_token(node, "pad_token");
  config.add_bos_token = optional_bool(node, "add_bos_token");
  config.add_eos_token = optional_bool(node, "add_eos_token");
  config.add_prefix_space = optional_bool(node, "add_prefix_space");
  if (node.has("additional_special_tokens")) {
    for (const JsonNode& token : node.get_list("additional_special_tokens")) {
      config.additional_special_tokens.push_back(token_content(token));
    }
  }
  if (node.has("added_tokens_decoder")) {
    const JsonNode list = node.child("added_tokens_decoder");
    if (!list.value().is_object()) list.corrupt("expected an object");
    for (const auto& [key, value] : list.value().items()) {
      int64_t id = -1;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc() || end != key.data() + key.size() || id < 0 || id > INT32_MAX) {
        list.corrupt("'" + key + "' is no token id");
      }
      config.added_tokens.push_back(read_added_token(list.child(key), static_cast<int32_t>(id)));
    }
  }
  return config;
}

}  // namespace twofold

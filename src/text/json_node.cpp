#include "text/json_node.h"

#include <algorithm>

#include "text/unicode.h"

namespace twofold {

void JsonNode::corrupt(std::string_view what) const {
  fail(ErrorCode::kCorruptFile, where_, "{}{}{}", path_, path_.empty() ? "" : ": ", what);
}

void JsonNode::unsupported(std::string_view what) const {
  fail(ErrorCode::kUnsupported, where_, "{}{}{}", path_, path_.empty() ? "" : ": ", what);
}

void JsonNode::expect_keys(std::initializer_list<std::string_view> keys) const {
  if (!value_.is_object()) corrupt(std::string("expected an object, found ") + value_.type_name());
  for (const auto& [key, field] : value_.items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      std::string shown = field.dump(-1, ' ', false, Json::error_handler_t::replace);
      if (shown.size() > 60) shown = shown.substr(0, 57) + "...";
      unsupported("unknown field '" + key + "' = " + shown);
    }
  }
}

bool JsonNode::has(std::string_view key) const {
  if (!value_.is_object()) corrupt(std::string("expected an object, found ") + value_.type_name());
  const auto found = value_.find(key);
  return found != value_.end() && !found->is_null();
}

JsonNode JsonNode::child(std::string_view key) const {
  if (!value_.is_object()) corrupt(std::string("expected an object, found ") + value_.type_name());
  const auto found = value_.find(key);
  if (found == value_.end()) corrupt("field '" + std::string(key) + "' is missing");
  return {*found, path_.empty() ? std::string(key) : path_ + "." + std::string(key), where_};
}

std::string JsonNode::as_string() const {
  if (!value_.is_string()) corrupt(std::string("expected a string, found ") + value_.type_name());
  return value_.get<std::string>();
}

int64_t JsonNode::as_int(int64_t low, int64_t high) const {
  if (!value_.is_number_integer()) {
    corrupt(std::string("expected an integer, found ") + value_.type_name());
  }
  const bool huge = value_.is_number_unsigned() && value_.get<uint64_t>() > uint64_t(INT64_MAX);
  if (huge || value_.get<int64_t>() < low || value_.get<int64_t>() > high) {
    corrupt(fmt::format("expected an integer in [{}, {}], found {}", low, high, value_.dump()));
  }
  return value_.get<int64_t>();
}

std::string JsonNode::get_string(std::string_view key) const { return child(key).as_string(); }

std::optional<std::string> JsonNode::optional_string(std::string_view key) const {
  if (!has(key)) return std::nullopt;
  return child(key).as_string();
}

bool JsonNode::get_bool(std::string_view key, std::optional<bool> fallback) const {
  if (fallback && !has(key)) return *fallback;
  const JsonNode node = child(key);
  if (!node.value_.is_boolean()) {
    node.corrupt(std::string("expected true or false, found ") + node.value_.type_name());
  }
  return node.value_.get<bool>();
}

int64_t JsonNode::get_int(std::string_view key, int64_t low, int64_t high) const {
  return child(key).as_int(low, high);
}

std::vector<JsonNode> JsonNode::get_list(std::string_view key) const {
  const JsonNode node = child(key);
  if (!node.value_.is_array()) {
    node.corrupt(std::string("expected a list, found ") + node.value_.type_name());
  }
  std::vector<JsonNode> list;
  list.reserve(node.value_.size());
  for (size_t i = 0; i < node.value_.size(); ++i) {
    list.emplace_back(node.value_[i], fmt::format("{}[{}]", node.path_, i), where_);
  }
  return list;
}

std::string JsonNode::get_character(std::string_view key, std::string_view fallback) const {
  if (!fallback.empty() && !has(key)) return std::string(fallback);
  const JsonNode node = child(key);
  const std::string text = node.as_string();
  if (text.empty() || character_bytes(text, 0) != text.size()) {
    node.corrupt("expected one character, found '" + text + "'");
  }
  return text;
}

}  // namespace twofold

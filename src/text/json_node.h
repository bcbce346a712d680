// JsonNode: strict reading of one JSON object of a tokenizer file. Every wrong type, missing field
// and unknown field is an Error that names the file, the path of the field and what was found.
#pragma once

#include <array>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace twofold {

class JsonNode {
 public:
  /// `path` is the field's place in the file, for messages; `value` must outlive the node.
  JsonNode(const Json& value, std::string path, std::string_view where)
      : value_(value), path_(std::move(path)), where_(where) {}

  const Json& value() const { return value_; }
  const std::string& path() const { return path_; }
  const std::string& where() const { return where_; }
  bool is_null() const { return value_.is_null(); }

  /// Refuses anything but an object with no other keys than these.
  void expect_keys(std::initializer_list<std::string_view> keys) const;
  bool has(std::string_view key) const;        // present and not null
  JsonNode child(std::string_view key) const;  // must be present; may be null

  std::string get_string(std::string_view key) const;
  std::optional<std::string> optional_string(std::string_view key) const;  // absent or null: none
  bool get_bool(std::string_view key, std::optional<bool> fallback = std::nullopt) const;
  /// Integer within [low, high].
  int64_t get_int(std::string_view key, int64_t low, int64_t high) const;
  std::vector<JsonNode> get_list(std::string_view key) const;
  /// The single character of a string field.
  std::string get_character(std::string_view key, std::string_view fallback = {}) const;

  /// This node itself as a string or an integer.
  std::string as_string() const;
  int64_t as_int(int64_t low, int64_t high) const;

  [[noreturn]] void corrupt(std::string_view what) const;
  [[noreturn]] void unsupported(std::string_view what) const;

 private:
  const Json& value_;
  std::string path_;
  std::string where_;
};

/// Adds one name to a list for a message.
inline void append_name(std::string& names, std::string_view name) {
  if (!names.empty()) names += ", ";
  names += name;
}

/// One member of a registry: a "type" of the file and what makes it.
template <class T>
struct JsonKind {
  std::string_view name;
  std::unique_ptr<T> (*make)(const JsonNode& node);
};

/// Makes what the node's "type" names. @throws Error(kUnsupported) naming the field, the type found
/// and those known.
template <class T, size_t N>
std::unique_ptr<T> make_kind(const JsonKind<T> (&kinds)[N], const JsonNode& node) {
  const std::string type = node.get_string("type");
  std::string known;
  for (const JsonKind<T>& kind : kinds) {
    if (kind.name == type) return kind.make(node);
    append_name(known, kind.name);
  }
  node.child("type").unsupported("'" + type + "' is not one of: " + known);
}

}  // namespace twofold

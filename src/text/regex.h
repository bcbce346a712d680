// Regex: patterns of tokenizer files (Oniguruma, Ruby syntax), compiled once by PCRE2 with Unicode
// classes. Patterns that mean something else there are rewritten, or refused by name. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_node.h"

struct pcre2_real_code_8;

namespace twofold {

/// Bytes [begin, end) of a text.
struct TextSpan {
  size_t begin = 0, end = 0;
};

class Regex {
 public:
  /// @throws Error(kUnsupported | kCorruptFile) naming `where` and the pattern.
  Regex(std::string_view pattern, std::string_view where);

  /// All matches from left to right in `text`, which must be valid UTF-8; none overlap.
  /// @throws Error(kUnsupported) if one match needs more than kMatchLimit steps
  /// and kMatchLimitPerByte for each byte.
  void find_all(std::string_view text, std::vector<TextSpan>& matches) const;

  static constexpr uint32_t kMatchLimit = 1'000'000;
  static constexpr uint32_t kMatchLimitPerByte = 8;

 private:
  struct Deleter {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::string where_;
  std::string pattern_;
  std::unique_ptr<pcre2_real_code_8, Deleter> code_;
};

/// The text with `content` in place of each span.
std::string replace_spans(std::string_view text, const std::vector<TextSpan>& spans,
                          std::string_view content);

/// What `{"String": ...}` and `{"Regex": ...}` match.
class Pattern {
 public:
  explicit Pattern(const JsonNode& node);
  void find_all(std::string_view text, std::vector<TextSpan>& matches) const;
  /// The literal, or nothing for a regular expression.
  const std::string* literal() const { return regex_ ? nullptr : &literal_; }
  std::string replace_all(std::string_view text, std::string_view content) const;

 private:
  std::string literal_;
  std::unique_ptr<Regex> regex_;
};

}  // namespace twofold

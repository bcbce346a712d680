// Lexer: the text of a template to tokens, with trim_blocks and lstrip_blocks as the transformers
// library sets them, and "-" and "+" at tags.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace twofold::jinja {

enum class TokenKind : uint8_t {
  kText,           // between tags
  kVariableBegin,  // {{
  kVariableEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 1;
  std::string text;  // of names and operators as written, of strings what they mean
  int64_t integer = 0;
  double number = 0;
};

/// @throws Error(kCorruptFile) naming the template, the line and what was expected.
std::vector<Token> tokenize(std::string_view source, std::string_view name);

/// How messages name a token: "'endif'", "end of template".
std::string describe(const Token& token);

}  // namespace twofold::jinja

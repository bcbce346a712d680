#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "text/jinja/characters.h"
#include "text/unicode.h"

namespace twofold::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

/// Longest first.
constexpr std::array<std::string_view, 26> kOperators = {
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
    "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

/// Line ends as \n, without the last one.
std::string normalized(std::string_view source) {
  std::string text;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
      continue;
    }
    text += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view name)
      : source_(normalized(source)), name_(name) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text_and_tag();
    add(TokenKind::kEnd, {});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    twofold::fail(ErrorCode::kCorruptFile, fmt::format("{}: line {}", name_, line_), what);
  }
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool sees(std::string_view text) const { return rest().starts_with(text); }
  void add(TokenKind kind, std::string text) {
    tokens_.push_back({.kind = kind, .line = line_, .text = std::move(text)});
  }
  /// Goes on by `bytes`, counting lines.
  void advance(size_t bytes) {
    line_ += static_cast<int>(std::ranges::count(rest().substr(0, bytes), '\n'));
    at_ += bytes;
    line_starts_ = bytes > 0 && source_[at_ - 1] == '\n';
  }
  size_t after_space(size_t at) const {
    while (at < source_.size() && is_python_space(code_point(source_, at))) {
      at += character_bytes(source_, at);
    }
    return at;
  }
  void skip_space() { advance(after_space(at_) - at_); }

  /// Text up to the next tag, as the tag's sign leaves it, and the tag.
  void text_and_tag() {
    size_t tag = at_;
    do {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        add(TokenKind::kText, source_.substr(at_));
        return advance(source_.size() - at_);
      }
      const char c = source_[tag + 1];
      if (c == '{' || c == '%' || c == '#') break;
      ++tag;
    } while (true);
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    add_text(source_.substr(at_, tag - at_), sign, kind != '{');
    const bool has_sign = sign == '-' || sign == '+';
    advance(tag + (has_sign ? 3 : 2) - at_);
    if (kind == '#') return comment();
    if (kind == '{') return inside(TokenKind::kVariableBegin);
    if (!raw()) inside(TokenKind::kBlockBegin);
  }

  /// Text before a tag: "-" takes away all white space before the tag, and tags other than {{
  /// without "+" the spaces of their own line.
  void add_text(std::string_view text, char sign, bool strips_line) {
    std::string kept(text);
    if (sign == '-') {
      kept = stripped(text, Side::kRight);
    } else if (sign != '+' && strips_line) {
      const size_t last = text.rfind('\n');
      const size_t begin = last == std::string_view::npos ? 0 : last + 1;
      if ((begin > 0 || line_starts_) && stripped(text.substr(begin), Side::kBoth).empty()) {
        kept.resize(begin);
      }
    }
    if (!kept.empty()) add(TokenKind::kText, std::move(kept));
  }

  /// The end of a tag, if it stands here: with "-" and the white space after it, or with the one
  /// line end that a block takes along.
  bool tag_end(std::string_view end, bool trims) {
    if (sees("-") && rest().substr(1).starts_with(end)) {
      advance(1 + end.size());
      skip_space();
      return true;
    }
    if (trims && sees("+") && rest().substr(1).starts_with(end)) {
      advance(1 + end.size());
      return true;
    }
    if (!sees(end)) return false;
    advance(end.size());
    if (trims && sees("\n")) advance(1);
    return true;
  }

  void comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail("expected '#}' to end the comment");
    const bool sign = end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+');
    advance(end - at_ - (sign ? 1 : 0));
    tag_end("#}", true);
  }

  /// {% raw %} to {% endraw %}, whose inside is text.
  bool raw() {
    const size_t word = after_space(at_);
    if (!std::string_view(source_).substr(word).starts_with("raw")) return false;
    const size_t close = after_space(word + 3);
    const std::string_view closing = std::string_view(source_).substr(close, 3);
    if (!closing.starts_with("%}") && closing != "-%}") return false;
    advance(close - at_);
    tag_end("%}", false);
    for (size_t tag = at_; (tag = source_.find("{%", tag)) != std::string::npos; ++tag) {
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      size_t end = after_space(tag + (sign == '-' || sign == '+' ? 3 : 2));
      if (!std::string_view(source_).substr(end).starts_with("endraw")) continue;
      end = after_space(end + 6);
      const std::string_view after = std::string_view(source_).substr(end, 3);
      if (!after.starts_with("%}") && after != "-%}" && after != "+%}") continue;
      add_text(rest().substr(0, tag - at_), sign, true);
      advance(end - at_);
      return tag_end("%}", true);
    }
    fail("expected '{% endraw %}'");
  }

  /// Tokens of {{ ... }} or {% ... %}.
  void inside(TokenKind begin) {
    const bool block = begin == TokenKind::kBlockBegin;
    const std::string_view end = block ? "%}" : "}}";
    add(begin, {});
    open_.clear();
    while (true) {
      skip_space();
      if (at_ >= source_.size()) fail(fmt::format("expected '{}', found end of template", end));
      if (open_.empty()) {
        const int line = line_;
        if (tag_end(end, block)) {
          add(block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, {});
          tokens_.back().line = line;
          return;
        }
      }
      token();
    }
  }

  void token() {
    const char c = source_[at_];
    if (is_digit(c)) return number();
    if (is_name_start(c)) {
      size_t end = at_;
      while (end < source_.size() && is_name_part(source_[end])) ++end;
      add(TokenKind::kName, source_.substr(at_, end - at_));
      return advance(end - at_);
    }
    if (c == '\'' || c == '"') return string(c);
    const auto found = std::ranges::find_if(kOperators, [&](auto o) { return sees(o); });
    if (found == kOperators.end()) {
      const size_t bytes = character_bytes(source_, at_);
      fail(fmt::format("expected an expression, found '{}'", rest().substr(0, bytes)));
    }
    balance(c);
    add(TokenKind::kOperator, std::string(*found));
    advance(found->size());
  }

  void balance(char c) {
    if (c == '(') open_ += ')';
    if (c == '[') open_ += ']';
    if (c == '{') open_ += '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (open_.empty()) fail(fmt::format("found '{}' that nothing opened", c));
    if (open_.back() != c) fail(fmt::format("expected '{}', found '{}'", open_.back(), c));
    open_.pop_back();
  }

  /// Bytes of digits from `from` on, with single underscores between them.
  size_t digits(size_t from) const {
    size_t end = from;
    while (end < source_.size() && is_digit(source_[end])) {
      ++end;
      if (end + 1 < source_.size() && source_[end] == '_' && is_digit(source_[end + 1])) ++end;
    }
    return end - from;
  }

  void number() {
    const size_t whole = digits(at_);
    size_t end = at_ + whole;
    bool real = false;
    const bool after_point = at_ > 0 && source_[at_ - 1] == '.';
    if (!after_point) {
      if (end < source_.size() && source_[end] == '.' && digits(end + 1) > 0) {
        end += 1 + digits(end + 1);
        real = true;
      }
      if (end < source_.size() && (source_[end] | 0x20) == 'e') {
        const bool sign =
            end + 1 < source_.size() && (source_[end + 1] == '-' || source_[end + 1] == '+');
        if (const size_t power = digits(end + (sign ? 2 : 1)); power > 0) {
          end += (sign ? 2 : 1) + power;
          real = true;
        }
      }
    }
    if (!real) return integer(whole);
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    add(TokenKind::kFloat, text);
    const auto parsed =
        std::from_chars(text.data(), text.data() + text.size(), tokens_.back().number);
    if (parsed.ec != std::errc()) fail(fmt::format("expected a number, found {}", text));
    advance(end - at_);
  }

  void integer(size_t whole) {
    int base = 10;
    size_t skip = 0, end = at_ + whole;
    if (source_[at_] == '0' && at_ + 2 < source_.size()) {
      const char letter = static_cast<char>(source_[at_ + 1] | 0x20);
      const int of = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
      size_t stop = at_ + 2;
      while (of != 10 && stop < source_.size() && is_name_part(source_[stop])) ++stop;
      if (of != 10 && stop > at_ + 2) {
        base = of;
        skip = 2;
        end = stop;
      }
    }
    if (base == 10 && source_[at_] == '0') {
      // A number does not begin with zeros: 012 is two numbers.
      end = at_ + 1;
      while (end < source_.size() && source_[end] == '0') ++end;
    }
    std::string text = source_.substr(at_ + skip, end - at_ - skip);
    std::erase(text, '_');
    add(TokenKind::kInteger, text);
    const auto parsed =
        std::from_chars(text.data(), text.data() + text.size(), tokens_.back().integer, base);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
      fail(fmt::format("expected an integer of 64 bits, found {}", text));
    }
    advance(end - at_);
  }

  void string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail(fmt::format("expected {} to end the string", quote));
    std::string text = unescaped(std::string_view(source_).substr(at_ + 1, end - at_ - 1));
    add(TokenKind::kString, std::move(text));
    advance(end + 1 - at_);
  }

  std::string unescaped(std::string_view text) const {
    constexpr std::string_view kLetters = "abfnrtv\\'\"";
    constexpr std::string_view kMeant = "\a\b\f\n\r\t\v\\'\"";
    std::string made;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        made += text[i];
        continue;
      }
      const char c = text[++i];
      if (const size_t k = kLetters.find(c); k != std::string_view::npos) {
        made += kMeant[k];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        append_code(made, text.substr(i + 1, count), count, 16);
        i += count;
      } else if (c >= '0' && c <= '7') {
        size_t count = 1;
        while (count < 3 && i + count < text.size() && text[i + count] >= '0' &&
               text[i + count] <= '7') {
          ++count;
        }
        append_code(made, text.substr(i, count), count, 8);
        i += count - 1;
      } else if (c == 'N') {
        fail("expected a character by its number, found \\N");
      } else if (c != '\n') {
        made += '\\';
        made += c;
      }
    }
    return made;
  }

  void append_code(std::string& to, std::string_view digits, size_t count, int base) const {
    uint32_t code = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
    const bool whole =
        error == std::errc() && digits.size() == count && end == digits.data() + digits.size();
    if (!whole || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      fail(fmt::format("expected the number of a character after \\, found '{}'", digits));
    }
    append_utf8(to, static_cast<char32_t>(code));
  }

  std::string source_;
  std::string_view name_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;
  std::string open_;  // brackets that are still to be closed, innermost last
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, std::string_view name) {
  if (!is_utf8(source)) {
    twofold::fail(ErrorCode::kCorruptFile, name, "expected UTF-8, found other bytes");
  }
  return Lexer(source, name).run();
}

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kText:
      return "text";
    case TokenKind::kVariableBegin:
      return "'{{'";
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kName:
    case TokenKind::kOperator:
      return "'" + token.text + "'";
    case TokenKind::kString:
      return "a string";
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return "a number";
    case TokenKind::kEnd:
      return "end of template";
  }
  return "a token";
}

}  // namespace twofold::jinja

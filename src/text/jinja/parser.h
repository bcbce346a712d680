// Parser: tokens to statements, by Jinja's grammar. Tags that would read other templates are
// refused.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace twofold::jinja {

/// Deepest nesting of a template's blocks, brackets and operators.
inline constexpr int kMaxTemplateDepth = 200;

/// Expressions. Names that a macro may ask for are noted while its body is parsed.
class ExprParser {
 public:
  ExprParser(std::vector<Token> tokens, std::string_view name)
      : tokens_(std::move(tokens)), name_(name) {}

 protected:
  /// One expression, with or without `a if b else c`.
  ExprPtr expression(bool conditional = true);
  struct TupleRules {
    bool conditional = true, targets = false, parentheses = false;
    std::string_view end = {};  // a name that ends it
  };
  /// One expression, or several with commas, which make a tuple.
  ExprPtr tuple(const TupleRules& rules);
  ExprPtr target(std::string_view end);
  ExprPtr primary(bool target = false);
  ExprPtr postfix(ExprPtr value);
  /// `| name(...)`, once or more.
  ExprPtr filters(ExprPtr value);
  ExprPtr filter_named(ExprPtr value);

  const Token& token() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take();
  bool is_name(std::string_view name) const;
  bool is_operator(std::string_view name) const;
  bool skip_name(std::string_view name);
  bool skip_operator(std::string_view name);
  void expect(TokenKind kind, std::string_view what);
  void expect_operator(std::string_view name);
  void expect_name(std::string_view name);
  std::string expect_any_name();
  std::string where() const { return fmt::format("{}: line {}", name_, token().line); }
  [[noreturn]] void fail(std::string_view what) const;
  [[noreturn]] void fail_expected(std::string_view what) const;
  ExprPtr make(ExprKind kind, int line) const;
  /// Adds a part, keeping the depth.
  void add(Expr& to, ExprPtr part) const;

  /// Counts nesting while it lives.
  class Deeper {
   public:
    explicit Deeper(ExprParser& parser);
    ~Deeper() { --parser_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    ExprParser& parser_;
  };

  std::vector<Signature*> macros_;  // whose bodies are being parsed

 private:
  ExprPtr disjunction();
  ExprPtr conjunction();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters = true);
  ExprPtr operation(ExprPtr left, ExprPtr (ExprParser::*operand)(),
                    std::span<const std::string_view> signs);
  ExprPtr filters_and_tests(ExprPtr value);
  ExprPtr test(ExprPtr value);
  ExprPtr subscript(ExprPtr value);
  ExprPtr one_subscript(ExprPtr value);
  ExprPtr list();
  ExprPtr dict();
  ExprPtr name(const Token& from);
  ExprPtr call(ExprPtr callee);
  void arguments(Expr& of);

  std::vector<Token> tokens_;
  std::string_view name_;
  size_t at_ = 0;
  int depth_ = 0;
};

/// @throws Error(kCorruptFile) on bad syntax, Error(kUnsupported) on tags that are refused, both
/// naming the template, the line and what was expected.
Body parse_template(std::string_view source, std::string_view name);

}  // namespace twofold::jinja

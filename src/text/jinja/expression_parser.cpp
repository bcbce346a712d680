#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja/parser.h"

namespace twofold::jinja {

ExprParser::Deeper::Deeper(ExprParser& parser) : parser_(parser) {
  if (++parser.depth_ > kMaxTemplateDepth) {
    parser.fail(fmt::format("expected nesting up to {}, found deeper", kMaxTemplateDepth));
  }
}

void ExprParser::fail(std::string_view what) const {
  twofold::fail(ErrorCode::kCorruptFile, where(), what);
}
void ExprParser::fail_expected(std::string_view what) const {
  fail(fmt::format("expected {}, found {}", what, describe(token())));
}

Token ExprParser::take() {
  Token taken = token();
  if (at_ + 1 < tokens_.size()) ++at_;
  return taken;
}
bool ExprParser::is_name(std::string_view name) const {
  return token().kind == TokenKind::kName && token().text == name;
}
bool ExprParser::is_operator(std::string_view name) const {
  return token().kind == TokenKind::kOperator && token().text == name;
}
bool ExprParser::skip_name(std::string_view name) {
  if (!is_name(name)) return false;
  take();
  return true;
}
bool ExprParser::skip_operator(std::string_view name) {
  if (!is_operator(name)) return false;
  take();
  return true;
}
void ExprParser::expect(TokenKind kind, std::string_view what) {
  if (token().kind != kind) fail_expected(what);
  take();
}
void ExprParser::expect_operator(std::string_view name) {
  if (!skip_operator(name)) fail_expected(fmt::format("'{}'", name));
}
void ExprParser::expect_name(std::string_view name) {
  if (!skip_name(name)) fail_expected(fmt::format("'{}'", name));
}
std::string ExprParser::expect_any_name() {
  if (token().kind != TokenKind::kName) fail_expected("a name");
  return take().text;
}

ExprPtr ExprParser::make(ExprKind kind, int line) const {
  auto made = std::make_unique<Expr>();
  made->kind = kind;
  made->line = line;
  return made;
}

void ExprParser::add(Expr& to, ExprPtr part) const {
  if (part != nullptr) to.depth = std::max(to.depth, part->depth + 1);
  if (to.depth > kMaxTemplateDepth) {
    fail(fmt::format("expected nesting up to {}, found deeper", kMaxTemplateDepth));
  }
  to.parts.push_back(std::move(part));
}

ExprPtr ExprParser::expression(bool conditional) {
  const Deeper deeper(*this);
  const int line = token().line;
  ExprPtr value = disjunction();
  while (conditional && skip_name("if")) {
    ExprPtr made = make(ExprKind::kConditional, line);
    add(*made, std::move(value));
    add(*made, disjunction());
    add(*made, skip_name("else") ? expression() : nullptr);
    value = std::move(made);
  }
  return value;
}

ExprPtr ExprParser::disjunction() {
  ExprPtr left = conjunction();
  if (!is_name("or")) return left;
  ExprPtr made = make(ExprKind::kOr, left->line);
  add(*made, std::move(left));
  while (skip_name("or")) add(*made, conjunction());
  return made;
}

ExprPtr ExprParser::conjunction() {
  ExprPtr left = negation();
  if (!is_name("and")) return left;
  ExprPtr made = make(ExprKind::kAnd, left->line);
  add(*made, std::move(left));
  while (skip_name("and")) add(*made, negation());
  return made;
}

ExprPtr ExprParser::negation() {
  if (!is_name("not")) return comparison();
  const Deeper deeper(*this);
  ExprPtr made = make(ExprKind::kNot, take().line);
  add(*made, negation());
  return made;
}

ExprPtr ExprParser::comparison() {
  constexpr std::array<std::string_view, 6> kSigns = {"==", "!=", "<", "<=", ">", ">="};
  ExprPtr left = sum();
  ExprPtr made = make(ExprKind::kCompare, left->line);
  while (true) {
    const bool sign =
        token().kind == TokenKind::kOperator && std::ranges::count(kSigns, token().text) > 0;
    if (sign || is_name("in")) {
      made->signs.push_back(take().text);
    } else if (is_name("not") && ahead().kind == TokenKind::kName && ahead().text == "in") {
      take();
      take();
      made->signs.emplace_back("not in");
    } else {
      break;
    }
    if (left != nullptr) add(*made, std::move(left));
    add(*made, sum());
  }
  return left != nullptr ? std::move(left) : std::move(made);
}

ExprPtr ExprParser::operation(ExprPtr left, ExprPtr (ExprParser::*operand)(),
                              std::span<const std::string_view> signs) {
  while (token().kind == TokenKind::kOperator && std::ranges::count(signs, token().text) > 0) {
    ExprPtr made = make(ExprKind::kArithmetic, token().line);
    made->signs.push_back(take().text);
    add(*made, std::move(left));
    add(*made, (this->*operand)());
    left = std::move(made);
  }
  return left;
}

ExprPtr ExprParser::sum() {
  constexpr std::array<std::string_view, 2> kSigns = {"+", "-"};
  return operation(concatenation(), &ExprParser::concatenation, kSigns);
}

ExprPtr ExprParser::concatenation() {
  ExprPtr left = product();
  if (!is_operator("~")) return left;
  ExprPtr made = make(ExprKind::kConcat, left->line);
  add(*made, std::move(left));
  while (skip_operator("~")) add(*made, product());
  return made;
}

ExprPtr ExprParser::product() {
  constexpr std::array<std::string_view, 4> kSigns = {"*", "/", "//", "%"};
  return operation(power(), &ExprParser::power, kSigns);
}

ExprPtr ExprParser::power() {
  constexpr std::array<std::string_view, 1> kSigns = {"**"};
  const auto operand = [this] { return unary(); };
  ExprPtr left = operand();
  while (is_operator(kSigns[0])) {
    ExprPtr made = make(ExprKind::kArithmetic, token().line);
    made->signs.push_back(take().text);
    add(*made, std::move(left));
    add(*made, operand());
    left = std::move(made);
  }
  return left;
}

ExprPtr ExprParser::unary(bool with_filters) {
  const Deeper deeper(*this);
  ExprPtr value;
  if (is_operator("-") || is_operator("+")) {
    value = make(is_operator("-") ? ExprKind::kNegative : ExprKind::kPositive, token().line);
    take();
    add(*value, unary(false));
  } else {
    value = primary();
  }
  value = postfix(std::move(value));
  return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
}

ExprPtr ExprParser::name(const Token& from) {
  const bool yes = from.text == "true" || from.text == "True";
  ExprPtr made = make(ExprKind::kConst, from.line);
  if (yes || from.text == "false" || from.text == "False") {
    made->value = yes;
    return made;
  }
  constexpr std::array<std::string_view, 2> kNone = {"none", "None"};
  if (std::ranges::count(kNone, from.text) > 0) return made;
  made->kind = ExprKind::kName;
  made->text = from.text;
  if (!macros_.empty()) {
    Signature& macro = *macros_.back();
    macro.wants_varargs = macro.wants_varargs || from.text == "varargs";
    macro.wants_kwargs = macro.wants_kwargs || from.text == "kwargs";
    macro.wants_caller = macro.wants_caller || from.text == "caller";
  }
  return made;
}

ExprPtr ExprParser::primary(bool target) {
  const Deeper deeper(*this);
  if (token().kind == TokenKind::kName) {
    const Token first = take();
    if (!target || !is_operator(".")) return name(first);
    // A namespace's attribute, to be set.
    take();
    ExprPtr made = make(ExprKind::kAttribute, first.line);
    made->text = expect_any_name();
    add(*made, name(first));
    return made;
  }
  if (token().kind == TokenKind::kString) {
    ExprPtr made = make(ExprKind::kConst, token().line);
    std::string text = take().text;
    while (token().kind == TokenKind::kString) text += take().text;
    made->value = Value(std::move(text));
    return made;
  }
  if (token().kind == TokenKind::kInteger || token().kind == TokenKind::kFloat) {
    ExprPtr made = make(ExprKind::kConst, token().line);
    const Token number = take();
    made->value = number.kind == TokenKind::kFloat ? Value(number.number) : Value(number.integer);
    return made;
  }
  if (skip_operator("(")) {
    ExprPtr made = tuple({.parentheses = true});
    expect_operator(")");
    return made;
  }
  if (is_operator("[")) return list();
  if (is_operator("{")) return dict();
  fail_expected("an expression");
}

ExprPtr ExprParser::tuple(const TupleRules& rules) {
  const auto ends = [&] {
    return token().kind == TokenKind::kVariableEnd || token().kind == TokenKind::kBlockEnd ||
           is_operator(")") || (!rules.end.empty() && is_name(rules.end));
  };
  ExprPtr made = make(ExprKind::kTuple, token().line);
  bool several = false;
  while (!ends()) {
    add(*made, rules.targets ? primary(true) : expression(rules.conditional));
    if (!skip_operator(",")) break;
    several = true;
  }
  if (!several && made->parts.size() == 1) return std::move(made->parts[0]);
  if (!several && !rules.parentheses) fail_expected("an expression");
  return made;
}

ExprPtr ExprParser::target(std::string_view end) {
  ExprPtr made = tuple({.targets = true, .end = end});
  const auto can_assign = [](const Expr& e, const auto& self) -> bool {
    if (e.kind == ExprKind::kTuple) {
      return std::ranges::all_of(e.parts, [&](const ExprPtr& p) { return self(*p, self); });
    }
    return e.kind == ExprKind::kName || e.kind == ExprKind::kAttribute;
  };
  if (!can_assign(*made, can_assign)) fail("expected a name to set, found a value");
  return made;
}

ExprPtr ExprParser::list() {
  ExprPtr made = make(ExprKind::kList, take().line);
  while (!is_operator("]")) {
    add(*made, expression());
    if (!is_operator("]")) expect_operator(",");
  }
  take();
  return made;
}

ExprPtr ExprParser::dict() {
  ExprPtr made = make(ExprKind::kDict, take().line);
  while (!is_operator("}")) {
    add(*made, expression());
    expect_operator(":");
    add(*made, expression());
    if (!is_operator("}")) expect_operator(",");
  }
  take();
  return made;
}

ExprPtr ExprParser::postfix(ExprPtr value) {
  while (true) {
    if (is_operator(".") || is_operator("[")) {
      value = subscript(std::move(value));
    } else if (is_operator("(")) {
      value = call(std::move(value));
    } else {
      return value;
    }
  }
}

ExprPtr ExprParser::filters_and_tests(ExprPtr value) {
  while (true) {
    if (is_operator("|")) {
      value = filters(std::move(value));
    } else if (is_name("is")) {
      value = test(std::move(value));
    } else if (is_operator("(")) {
      value = call(std::move(value));
    } else {
      return value;
    }
  }
}

ExprPtr ExprParser::subscript(ExprPtr value) {
  const Token first = take();
  if (first.text == "[") return one_subscript(std::move(value));
  ExprPtr made = make(ExprKind::kAttribute, first.line);
  if (token().kind == TokenKind::kInteger) {
    made->kind = ExprKind::kItem;
    ExprPtr index = make(ExprKind::kConst, first.line);
    index->value = take().integer;
    add(*made, std::move(value));
    add(*made, std::move(index));
    return made;
  }
  made->text = expect_any_name();
  add(*made, std::move(value));
  return made;
}

/// What is in brackets: an index, a slice, or several indexes, which are a tuple.
ExprPtr ExprParser::one_subscript(ExprPtr value) {
  const int line = token().line;
  ExprPtr made = make(ExprKind::kItem, line);
  add(*made, std::move(value));
  const auto ends = [&] { return is_operator(":") || is_operator("]"); };
  ExprPtr first = ends() ? nullptr : tuple({});
  if (!is_operator(":")) {
    if (first == nullptr) fail_expected("an index");
    expect_operator("]");
    add(*made, std::move(first));
    return made;
  }
  made->kind = ExprKind::kSlice;
  add(*made, std::move(first));
  take();
  add(*made, ends() ? nullptr : expression());
  add(*made, skip_operator(":") && !is_operator("]") ? expression() : nullptr);
  expect_operator("]");
  return made;
}

ExprPtr ExprParser::call(ExprPtr callee) {
  ExprPtr made = make(ExprKind::kCall, token().line);
  add(*made, std::move(callee));
  arguments(*made);
  return made;
}

void ExprParser::arguments(Expr& of) {
  const Deeper deeper(*this);
  expect_operator("(");
  const auto keep_depth = [&](const ExprPtr& part) {
    of.depth = std::max(of.depth, part->depth + 1);
  };
  while (!is_operator(")")) {
    if (skip_operator("*")) {
      if (of.star != nullptr || of.double_star != nullptr) fail("found a second * in a call");
      of.star = expression();
      keep_depth(of.star);
    } else if (skip_operator("**")) {
      if (of.double_star != nullptr) fail("found a second ** in a call");
      of.double_star = expression();
      keep_depth(of.double_star);
    } else if (token().kind == TokenKind::kName && ahead().kind == TokenKind::kOperator &&
               ahead().text == "=") {
      if (of.double_star != nullptr) fail("found a named argument after **");
      std::string name = take().text;
      take();
      of.named.emplace_back(std::move(name), expression());
      keep_depth(of.named.back().second);
    } else {
      if (of.star != nullptr || of.double_star != nullptr || !of.named.empty()) {
        fail("expected named arguments after the first named one");
      }
      add(of, expression());
    }
    if (!is_operator(")")) expect_operator(",");
  }
  take();
}

ExprPtr ExprParser::filters(ExprPtr value) {
  while (skip_operator("|")) value = filter_named(std::move(value));
  return value;
}

ExprPtr ExprParser::filter_named(ExprPtr value) {
  ExprPtr made = make(ExprKind::kFilter, token().line);
  made->text = expect_any_name();
  add(*made, std::move(value));
  if (is_operator("(")) arguments(*made);
  return made;
}

ExprPtr ExprParser::test(ExprPtr value) {
  const int line = take().line;
  const bool negated = skip_name("not");
  ExprPtr made = make(ExprKind::kTest, line);
  made->text = expect_any_name();
  add(*made, std::move(value));
  const bool operand =
      token().kind == TokenKind::kString || token().kind == TokenKind::kInteger ||
      token().kind == TokenKind::kFloat || is_operator("[") || is_operator("{") ||
      (token().kind == TokenKind::kName && !is_name("else") && !is_name("or") && !is_name("and"));
  if (is_operator("(")) {
    arguments(*made);
  } else if (operand) {
    if (is_name("is")) fail("expected one test, found 'is' after another");
    add(*made, postfix(primary()));
  }
  if (!negated) return made;
  ExprPtr inverse = make(ExprKind::kNot, line);
  add(*inverse, std::move(made));
  return inverse;
}

}  // namespace twofold::jinja

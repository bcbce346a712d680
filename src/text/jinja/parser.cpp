#include "text/jinja/parser.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace twofold::jinja {
namespace {

/// Statements.
class Parser : public ExprParser {
 public:
  using ExprParser::ExprParser;

  Body parse() {
    Body body = statements({});
    if (token().kind != TokenKind::kEnd) fail_expected("text or a tag");
    return body;
  }

 private:
  using Tags = std::initializer_list<std::string_view>;

  /// Until one of the tags, which is left to be read, or the end of the template.
  Body statements(Tags ends) {
    const Deeper deeper(*this);
    Body body;
    while (token().kind != TokenKind::kEnd) {
      if (token().kind == TokenKind::kText) {
        Stmt text = make_stmt(StmtKind::kText);
        text.text = take().text;
        body.push_back(std::move(text));
      } else if (token().kind == TokenKind::kVariableBegin) {
        take();
        Stmt print = make_stmt(StmtKind::kPrint);
        print.expr = tuple({});
        expect(TokenKind::kVariableEnd, "'}}'");
        body.push_back(std::move(print));
      } else {
        expect(TokenKind::kBlockBegin, "a tag");
        if (token().kind == TokenKind::kName && std::ranges::count(ends, token().text) > 0) {
          return body;
        }
        body.push_back(statement(ends));
        expect(TokenKind::kBlockEnd, "'%}'");
      }
    }
    if (ends.size() > 0) fail_expected(fmt::format("'{{% {} %}}'", *(ends.end() - 1)));
    return body;
  }

  /// The inside of a block: the rest of its tag, then statements to one of the tags.
  Body block(Tags ends) {
    skip_operator(":");
    expect(TokenKind::kBlockEnd, "'%}'");
    return statements(ends);
  }
  /// The same, with the one tag that ends it.
  Body whole_block(std::string_view end) {
    Body body = block({end});
    take();
    return body;
  }

  Stmt make_stmt(StmtKind kind) const {
    Stmt made;
    made.kind = kind;
    made.line = token().line;
    return made;
  }

  Stmt statement(Tags ends) {
    struct Tag {
      std::string_view name;
      Stmt (Parser::*parse)();
    };
    static constexpr std::array kTags = {
        Tag{"if", &Parser::if_tag},       Tag{"for", &Parser::for_tag},
        Tag{"set", &Parser::set_tag},     Tag{"macro", &Parser::macro_tag},
        Tag{"call", &Parser::call_tag},   Tag{"filter", &Parser::filter_tag},
        Tag{"with", &Parser::with_tag},   Tag{"generation", &Parser::generation_tag},
        Tag{"break", &Parser::loop_tag},  Tag{"continue", &Parser::loop_tag},
        Tag{"print", &Parser::print_tag},
    };
    static constexpr std::array<std::string_view, 7> kRefused = {
        "include", "import", "from", "extends", "block", "autoescape", "do"};
    if (token().kind != TokenKind::kName) fail_expected("the name of a tag");
    const auto found = std::ranges::find(kTags, token().text, &Tag::name);
    if (found != kTags.end()) return (this->*found->parse)();
    if (std::ranges::count(kRefused, token().text) > 0) {
      twofold::fail(ErrorCode::kUnsupported, where(), "expected tags of one template, found '{}'",
                    token().text);
    }
    const std::string end = ends.size() > 0 ? fmt::format("'{}'", *(ends.end() - 1)) : "a tag";
    fail_expected(end);
  }

  Stmt if_tag() {
    Stmt made = make_stmt(StmtKind::kIf);
    take();
    bool more = true;
    while (more) {
      Branch branch;
      branch.condition = tuple({.conditional = false});
      branch.body = block({"elif", "else", "endif"});
      made.branches.push_back(std::move(branch));
      const std::string tag = take().text;
      more = tag == "elif";
      if (tag == "else") {
        Branch last;
        last.body = whole_block("endif");
        made.branches.push_back(std::move(last));
      }
    }
    return made;
  }

  Stmt for_tag() {
    Stmt made = make_stmt(StmtKind::kFor);
    take();
    made.target = target("in");
    if (has_attribute(*made.target)) fail("expected names after 'for', found an attribute");
    expect_name("in");
    made.expr = tuple({.conditional = false, .end = "recursive"});
    if (skip_name("if")) made.condition = expression();
    made.recursive = skip_name("recursive");
    ++loops_;
    made.body = block({"endfor", "else"});
    --loops_;
    if (take().text == "else") {
      Branch other;
      other.body = whole_block("endfor");
      made.branches.push_back(std::move(other));
    }
    return made;
  }

  static bool has_attribute(const Expr& target) {
    return target.kind == ExprKind::kAttribute ||
           std::ranges::any_of(target.parts,
                               [](const ExprPtr& part) { return has_attribute(*part); });
  }

  Stmt set_tag() {
    Stmt made = make_stmt(StmtKind::kSet);
    take();
    made.target = target({});
    if (skip_operator("=")) {
      made.expr = tuple({});
      return made;
    }
    made.kind = StmtKind::kSetBlock;
    if (is_operator("|")) made.expr = filters(nullptr);
    made.body = own_block("endset");
    return made;
  }

  /// A block whose breaks would leave something else than a loop.
  Body own_block(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Body body = whole_block(end);
    loops_ = loops;
    return body;
  }

  std::unique_ptr<Signature> signature() {
    auto made = std::make_unique<Signature>();
    expect_operator("(");
    while (!is_operator(")")) {
      made->names.push_back(expect_any_name());
      if (skip_operator("=")) {
        made->defaults.push_back(expression());
      } else if (!made->defaults.empty()) {
        fail("expected a default for every parameter after the first that has one");
      }
      if (!is_operator(")")) expect_operator(",");
    }
    take();
    return made;
  }

  Body macro_body(Signature& of, std::string_view end) {
    macros_.push_back(&of);
    Body body = own_block(end);
    macros_.pop_back();
    return body;
  }

  Stmt macro_tag() {
    Stmt made = make_stmt(StmtKind::kMacro);
    take();
    made.text = expect_any_name();
    made.signature = signature();
    made.body = macro_body(*made.signature, "endmacro");
    return made;
  }

  Stmt call_tag() {
    Stmt made = make_stmt(StmtKind::kCallBlock);
    take();
    made.signature = is_operator("(") ? signature() : std::make_unique<Signature>();
    made.expr = expression();
    if (made.expr->kind != ExprKind::kCall) fail("expected a call after 'call'");
    made.body = macro_body(*made.signature, "endcall");
    return made;
  }

  Stmt filter_tag() {
    Stmt made = make_stmt(StmtKind::kFilterBlock);
    take();
    made.expr = filters(filter_named(nullptr));
    made.body = own_block("endfilter");
    return made;
  }

  Stmt with_tag() {
    Stmt made = make_stmt(StmtKind::kWith);
    take();
    made.target = make(ExprKind::kTuple, made.line);
    made.expr = make(ExprKind::kTuple, made.line);
    while (token().kind == TokenKind::kName) {
      ExprPtr one = primary();
      if (one->kind != ExprKind::kName) fail("expected a name to set, found a value");
      add(*made.target, std::move(one));
      expect_operator("=");
      add(*made.expr, expression());
      if (!skip_operator(",")) break;
    }
    made.body = whole_block("endwith");
    return made;
  }

  Stmt generation_tag() {
    Stmt made = make_stmt(StmtKind::kScope);
    take();
    made.body = own_block("endgeneration");
    return made;
  }

  Stmt loop_tag() {
    Stmt made = make_stmt(is_name("break") ? StmtKind::kBreak : StmtKind::kContinue);
    if (loops_ == 0) fail(fmt::format("expected '{}' inside a loop", token().text));
    take();
    return made;
  }

  Stmt print_tag() {
    Stmt made = make_stmt(StmtKind::kPrint);
    take();
    made.expr = make(ExprKind::kConcat, made.line);
    add(*made.expr, expression());
    while (skip_operator(",")) add(*made.expr, expression());
    return made;
  }

  int loops_ = 0;  // around, up to the next macro or block
};

}  // namespace

Body parse_template(std::string_view source, std::string_view name) {
  return Parser(tokenize(source, name), name).parse();
}

}  // namespace twofold::jinja

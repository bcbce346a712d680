// What the parser makes of a template: statements and expressions, each with its line.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace twofold::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class ExprKind : uint8_t {
  kConst,        // value
  kName,         // text
  kList,         // parts
  kTuple,        // parts
  kDict,         // parts: key, value, key, value ...
  kAttribute,    // parts[0].text
  kItem,         // parts[0][parts[1]]
  kSlice,        // parts[0][parts[1]:parts[2]:parts[3]], absent ones null
  kCall,         // parts[0](parts[1...], ...)
  kFilter,       // parts[0] | text(parts[1...], ...); parts[0] null: of a block
  kTest,         // parts[0] is text(parts[1...], ...)
  kNot,          // parts[0]
  kNegative,     // parts[0]
  kPositive,     // parts[0]
  kAnd,          // parts
  kOr,           // parts
  kConcat,       // parts
  kCompare,      // parts[0] signs[0] parts[1] signs[1] parts[2] ...
  kConditional,  // parts[0] if parts[1] else parts[2], which may be null
  kArithmetic,   // parts[0] signs[0] parts[1]
};

struct Expr {
  ExprKind kind = ExprKind::kConst;
  int line = 1;
  int depth = 1;  // of the tree below
  std::string text;
  Value value;
  std::vector<ExprPtr> parts;
  std::vector<std::string> signs;
  // Of calls, filters and tests:
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, double_star;
};

struct Stmt;
using Body = std::vector<Stmt>;

/// The names of a macro's parameters; the last ones have defaults.
struct Signature {
  std::vector<std::string> names;
  std::vector<ExprPtr> defaults;
  // What the body asks for beyond its parameters:
  bool wants_varargs = false, wants_kwargs = false, wants_caller = false;
};

enum class StmtKind : uint8_t {
  kText,         // text
  kPrint,        // expr
  kIf,           // branches: condition and body, the last one's may be null
  kFor,          // target in expr if condition; body; branches[0]: else
  kSet,          // target = expr
  kSetBlock,     // target = body through the filters of expr, if any
  kMacro,        // text, signature, body
  kCallBlock,    // expr is the call; signature, body are its caller
  kFilterBlock,  // body through expr
  kWith,         // parameters named by target's parts, expr's parts are their values; body
  kScope,        // body with names of its own
  kBreak,
  kContinue,
};

struct Branch;

struct Stmt {
  StmtKind kind = StmtKind::kText;
  int line = 1;
  std::string text;
  ExprPtr target, expr, condition;
  std::unique_ptr<Signature> signature;
  std::vector<Branch> branches;
  Body body;
  bool recursive = false;
};

struct Branch {
  ExprPtr condition;
  Body body;
};

}  // namespace twofold::jinja

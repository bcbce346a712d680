// Evaluator: walks over a parsed template. One for each rendering.
#pragma once

#include <map>

#include "text/jinja/ast.h"
#include "text/jinja/run.h"

namespace twofold::jinja {

/// Names set in a block, and those around it.
struct Scope {
  std::map<std::string, Value, std::less<>> names;
  std::shared_ptr<Scope> parent;
};
using ScopePtr = std::shared_ptr<Scope>;

class Evaluator {
 public:
  Evaluator(Run& run, ScopePtr variables);
  std::string render(const Body& body);

  Value evaluate(const Expr& e);
  /// Runs the body of a macro, or of a call's block.
  Value call_macro(const Stmt& macro, const ScopePtr& scope, Arguments& arguments);
  /// Runs a loop over `iterable`, and gives what it prints.
  Value call_loop(const Stmt& loop, const ScopePtr& scope, const Value& iterable, int64_t depth);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class InScope;  // while it lives, another scope is the current one
  class Capture;  // while it lives, output goes to a text of its own

  Flow execute(const Body& body);
  Flow execute(const Stmt& s);
  void print(std::string_view text);
  Flow execute_if(const Stmt& s);
  Flow execute_loop(const Stmt& s, const Value& iterable, int64_t depth);
  std::vector<Value> loop_items(const Stmt& s, const Value& iterable);
  void execute_set_block(const Stmt& s);
  void execute_call(const Stmt& s);
  void execute_with(const Stmt& s, Flow& flow);
  std::string captured(const Body& body);
  Value make_macro(const Stmt& s);
  void assign(const Expr& target, Value value);

  Value evaluate_parts(const Expr& e);
  Value lookup(const std::string& name);
  Value compare(const Expr& e);
  Value concatenate(const Expr& e);
  Value logical(const Expr& e);
  Value make_dict(const Expr& e);
  Value arithmetic_of(const Expr& e);
  Value call(const Value& callee, Arguments& arguments);
  Value filter(const Expr& e, const Value& input);
  /// A chain of filters over the text of a block.
  Value block_filters(const Expr& e, const Value& text);
  std::vector<Value> values_of(const Expr& e, size_t first = 0);
  Arguments arguments_of(const Expr& e);
  Value part(const Expr& e, size_t i);

  Run& run_;
  ScopePtr scope_;
  std::string* out_ = nullptr;
};

}  // namespace twofold::jinja

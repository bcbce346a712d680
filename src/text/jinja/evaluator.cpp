// The evaluator's statements, macros and loops.
#include "text/jinja/evaluator.h"

#include <algorithm>

#include "text/jinja/globals.h"
#include "text/jinja/operators.h"

namespace twofold::jinja {
namespace {

class Macro : public Object {
 public:
  Macro(Evaluator& evaluator, const Stmt& macro, ScopePtr scope)
      : evaluator_(evaluator), macro_(macro), scope_(std::move(scope)) {}
  std::string repr(Run&) override {
    return macro_.text.empty() ? "<Macro 'caller'>" : fmt::format("<Macro '{}'>", macro_.text);
  }
  std::optional<Value> attribute(Run& run, std::string_view name) override {
    if (name != "name") return std::nullopt;
    return run.text(macro_.text.empty() ? "caller" : macro_.text);
  }
  Value call(Run&, Arguments& arguments) override {
    return evaluator_.call_macro(macro_, scope_, arguments);
  }

 private:
  Evaluator& evaluator_;
  const Stmt& macro_;
  ScopePtr scope_;
};

/// `loop`, which its methods refer to; it lives to the end of the run.
class Loop : public Object {
 public:
  struct Place {
    Evaluator& evaluator;
    const Stmt& loop;
    ScopePtr scope;  // around the loop
    int64_t depth;   // 0 for one that is not called by another
  };
  Loop(Place place, Value items) : place_(std::move(place)), items_(std::move(items)) {}

  void go_to(size_t index) { index_ = static_cast<int64_t>(index); }
  std::string repr(Run&) override {
    return fmt::format("<LoopContext {}/{}>", index_ + 1, count());
  }
  bool callable() const override { return true; }
  int depth() const override { return items_.depth() + 1; }
  std::optional<Value> attribute(Run& run, std::string_view name) override;
  Value call(Run& run, Arguments& arguments) override {
    if (!place_.loop.recursive) run.fail("loop: expected 'recursive' at the loop to call it");
    const Bound a(run, "loop", arguments, {"iterable"}, 1);
    return place_.evaluator.call_loop(place_.loop, place_.scope, a[0], place_.depth + 1);
  }

  Value cycle(Run& run, const Arguments& arguments) const {
    if (arguments.positional.empty()) run.fail("loop.cycle: expected values, found none");
    const auto count = static_cast<int64_t>(arguments.positional.size());
    return arguments.positional[static_cast<size_t>(index_ % count)];
  }
  Value changed(Run& run, const Arguments& arguments) {
    const Value now = run.list(arguments.positional, Flavor::kTuple);
    if (last_ && equal(run, *last_, now)) return false;
    last_ = now;
    return true;
  }

 private:
  int64_t count() const { return std::ssize(items_.sequence()->items); }
  Value neighbour(int64_t index, std::string_view what) const {
    if (index < 0 || index >= count()) return Value::undefined(std::string(what));
    return items_.sequence()->items[static_cast<size_t>(index)];
  }

  Place place_;
  Value items_;
  int64_t index_ = 0;
  std::optional<Value> last_;
};

class LoopMethod : public Object {
 public:
  LoopMethod(Loop& loop, bool cycles) : loop_(loop), cycles_(cycles) {}
  Value call(Run& run, Arguments& arguments) override {
    return cycles_ ? loop_.cycle(run, arguments) : loop_.changed(run, arguments);
  }

 private:
  Loop& loop_;
  bool cycles_;
};

std::optional<Value> Loop::attribute(Run& run, std::string_view name) {
  if (name == "index") return index_ + 1;
  if (name == "index0") return index_;
  if (name == "revindex") return count() - index_;
  if (name == "revindex0") return count() - index_ - 1;
  if (name == "first") return index_ == 0;
  if (name == "last") return index_ + 1 == count();
  if (name == "length") return count();
  if (name == "depth") return place_.depth + 1;
  if (name == "depth0") return place_.depth;
  if (name == "previtem") return neighbour(index_ - 1, "there is no previous item");
  if (name == "nextitem") return neighbour(index_ + 1, "there is no next item");
  if (name != "cycle" && name != "changed") return std::nullopt;
  return run.object(std::make_shared<LoopMethod>(*this, name == "cycle"));
}

}  // namespace

class Evaluator::InScope {
 public:
  InScope(Evaluator& evaluator, ScopePtr parent)
      : evaluator_(evaluator), outer_(std::move(evaluator.scope_)) {
    evaluator_.run_.take(sizeof(Scope));
    evaluator_.scope_ = std::make_shared<Scope>(Scope{{}, std::move(parent)});
  }
  ~InScope() { evaluator_.scope_ = std::move(outer_); }
  InScope(const InScope&) = delete;
  InScope& operator=(const InScope&) = delete;

 private:
  Evaluator& evaluator_;
  ScopePtr outer_;
};

class Evaluator::Capture {
 public:
  explicit Capture(Evaluator& evaluator) : evaluator_(evaluator), outer_(evaluator.out_) {
    evaluator_.out_ = &text;
  }
  ~Capture() { evaluator_.out_ = outer_; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  std::string text;

 private:
  Evaluator& evaluator_;
  std::string* outer_;
};

Evaluator::Evaluator(Run& run, ScopePtr variables) : run_(run), scope_(std::move(variables)) {}

std::string Evaluator::render(const Body& body) {
  const InScope scope(*this, scope_);
  return captured(body);
}

std::string Evaluator::captured(const Body& body) {
  Capture capture(*this);
  execute(body);
  return std::move(capture.text);
}

void Evaluator::print(std::string_view text) {
  run_.take(text.size());
  run_.check_output(out_->size() + text.size());
  *out_ += text;
}

Evaluator::Flow Evaluator::execute(const Body& body) {
  for (const Stmt& s : body) {
    if (const Flow flow = execute(s); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::execute(const Stmt& s) {
  const Run::Deeper deeper(run_);
  run_.step();
  run_.set_line(s.line);
  Flow flow = Flow::kNext;
  switch (s.kind) {
    case StmtKind::kText:
      print(s.text);
      break;
    case StmtKind::kPrint:
      print(to_text(run_, evaluate(*s.expr)));
      break;
    case StmtKind::kIf:
      return execute_if(s);
    case StmtKind::kFor:
      return execute_loop(s, evaluate(*s.expr), 0);
    case StmtKind::kSet:
      assign(*s.target, evaluate(*s.expr));
      break;
    case StmtKind::kSetBlock:
      execute_set_block(s);
      break;
    case StmtKind::kMacro:
      scope_->names.insert_or_assign(s.text, make_macro(s));
      break;
    case StmtKind::kCallBlock:
      execute_call(s);
      break;
    case StmtKind::kFilterBlock: {
      const InScope scope(*this, scope_);
      print(to_text(run_, block_filters(*s.expr, run_.text(captured(s.body)))));
      break;
    }
    case StmtKind::kWith:
      execute_with(s, flow);
      break;
    case StmtKind::kScope: {
      const InScope scope(*this, scope_);
      flow = execute(s.body);
      break;
    }
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return flow;
}

Evaluator::Flow Evaluator::execute_if(const Stmt& s) {
  for (const Branch& branch : s.branches) {
    if (branch.condition == nullptr || truth(run_, evaluate(*branch.condition))) {
      return execute(branch.body);
    }
  }
  return Flow::kNext;
}

std::vector<Value> Evaluator::loop_items(const Stmt& s, const Value& iterable) {
  std::vector<Value> items = iterate(run_, iterable);
  if (s.condition == nullptr) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    const InScope scope(*this, scope_);
    assign(*s.target, item);
    if (truth(run_, evaluate(*s.condition))) kept.push_back(std::move(item));
  }
  return kept;
}

Evaluator::Flow Evaluator::execute_loop(const Stmt& s, const Value& iterable, int64_t depth) {
  const Value items = run_.list(loop_items(s, iterable));
  const std::vector<Value>& list = items.sequence()->items;
  auto loop = std::make_shared<Loop>(Loop::Place{*this, s, scope_, depth}, items);
  const Value loop_value = run_.object(loop);
  for (size_t i = 0; i < list.size(); ++i) {
    const InScope scope(*this, scope_);
    run_.step();
    loop->go_to(i);
    scope_->names.emplace("loop", loop_value);
    assign(*s.target, list[i]);
    if (execute(s.body) == Flow::kBreak) break;
  }
  // Its methods may have been kept.
  if (loop.use_count() > 2) run_.at_end([held = std::move(loop)] {});
  if (!list.empty() || s.branches.empty()) return Flow::kNext;
  const InScope scope(*this, scope_);
  return execute(s.branches[0].body);
}

Value Evaluator::call_loop(const Stmt& loop, const ScopePtr& scope, const Value& iterable,
                           int64_t depth) {
  const InScope inner(*this, scope);
  Capture capture(*this);
  execute_loop(loop, iterable, depth);
  return run_.text(std::move(capture.text));
}

void Evaluator::execute_set_block(const Stmt& s) {
  Value value;
  {
    const InScope scope(*this, scope_);
    value = run_.text(captured(s.body));
    if (s.expr != nullptr) value = block_filters(*s.expr, value);
  }
  assign(*s.target, std::move(value));
}

Value Evaluator::make_macro(const Stmt& s) {
  // The scope holds the macro, and the macro the scope.
  run_.at_end([scope = scope_] { scope->names.clear(); });
  return run_.object(std::make_shared<Macro>(*this, s, scope_));
}

void Evaluator::execute_call(const Stmt& s) {
  const Value callee = part(*s.expr, 0);
  Arguments arguments = arguments_of(*s.expr);
  arguments.named.emplace_back("caller", make_macro(s));
  print(to_text(run_, call(callee, arguments)));
}

void Evaluator::execute_with(const Stmt& s, Flow& flow) {
  std::vector<Value> values = values_of(*s.expr);
  const InScope scope(*this, scope_);
  for (size_t i = 0; i < values.size(); ++i) assign(*s.target->parts[i], std::move(values[i]));
  flow = execute(s.body);
}

void Evaluator::assign(const Expr& target, Value value) {
  run_.step();
  if (target.kind == ExprKind::kName) {
    run_.take(sizeof(Value) + target.text.size());
    scope_->names.insert_or_assign(target.text, std::move(value));
    return;
  }
  if (target.kind == ExprKind::kAttribute) {
    const Value owner = evaluate(*target.parts[0]);
    auto* space = dynamic_cast<Namespace*>(owner.object());
    if (space == nullptr) {
      run_.fail("expected a namespace to set '{}' of, found {}", target.text, owner.type_name());
    }
    return space->set(run_, target.text, std::move(value));
  }
  std::vector<Value> values = iterate(run_, value);
  if (values.size() != target.parts.size()) {
    run_.fail("expected {} values for as many names, found {}", target.parts.size(), values.size());
  }
  for (size_t i = 0; i < values.size(); ++i) assign(*target.parts[i], std::move(values[i]));
}

Value Evaluator::call_macro(const Stmt& macro, const ScopePtr& scope, Arguments& arguments) {
  const Signature& signature = *macro.signature;
  const int line = run_.line();
  const std::string name = macro.text.empty() ? "caller" : macro.text;
  const size_t count = signature.names.size();
  const size_t first_default = count - signature.defaults.size();
  const InScope inner(*this, scope);
  auto& names = scope_->names;
  for (size_t i = 0; i < count; ++i) {
    const std::string& parameter = signature.names[i];
    run_.step(1 + std::ssize(arguments.named) / 8);
    const auto given = std::ranges::find(
        arguments.named, parameter, [](const auto& n) -> const auto& { return n.first; });
    if (i < arguments.positional.size()) {
      names.insert_or_assign(parameter, arguments.positional[i]);
    } else if (given != arguments.named.end()) {
      names.insert_or_assign(parameter, given->second);
      arguments.named.erase(given);
    } else if (i >= first_default) {
      names.insert_or_assign(parameter, evaluate(*signature.defaults[i - first_default]));
    } else {
      names.insert_or_assign(
          parameter, Value::undefined(fmt::format("parameter '{}' was not provided", parameter)));
    }
  }
  run_.set_line(line);
  const bool own_caller = std::ranges::count(signature.names, "caller") > 0;
  if (signature.wants_caller && !own_caller) {
    const auto given = std::ranges::find(
        arguments.named, "caller", [](const auto& n) -> const auto& { return n.first; });
    const bool is_given = given != arguments.named.end();
    names.insert_or_assign("caller",
                           is_given ? given->second : Value::undefined("No caller defined"));
    if (is_given) arguments.named.erase(given);
  }
  if (signature.wants_kwargs) {
    std::vector<std::pair<Value, Value>> entries;
    for (auto& [key, value] : arguments.named) entries.emplace_back(Value(key), value);
    names.insert_or_assign("kwargs", run_.dict(std::move(entries)));
  } else if (!arguments.named.empty()) {
    run_.fail("macro '{}': no argument is named '{}'", name, arguments.named[0].first);
  }
  const size_t used = std::min(count, arguments.positional.size());
  if (signature.wants_varargs) {
    names.insert_or_assign(
        "varargs", run_.list({arguments.positional.begin() + static_cast<std::ptrdiff_t>(used),
                              arguments.positional.end()},
                             Flavor::kTuple));
  } else if (arguments.positional.size() > count) {
    run_.fail("macro '{}': expected at most {} arguments, found {}", name, count,
              arguments.positional.size());
  }
  Value text = run_.text(captured(macro.body));
  run_.set_line(line);
  return text;
}

}  // namespace twofold::jinja

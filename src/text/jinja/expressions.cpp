// The evaluator's expressions.
#include <algorithm>
#include <array>

#include "text/jinja/evaluator.h"
#include "text/jinja/filters.h"
#include "text/jinja/globals.h"
#include "text/jinja/operators.h"

namespace twofold::jinja {
namespace {

struct SignRow {
  std::string_view text;
  Sign sign;
};
constexpr std::array kSigns = {
    SignRow{"+", Sign::kAdd},  SignRow{"-", Sign::kSub},       SignRow{"*", Sign::kMul},
    SignRow{"/", Sign::kDiv},  SignRow{"//", Sign::kFloorDiv}, SignRow{"%", Sign::kMod},
    SignRow{"**", Sign::kPow},
};

bool compare_by(Run& run, std::string_view sign, const Value& a, const Value& b) {
  if (sign == "==") return equal(run, a, b);
  if (sign == "!=") return !equal(run, a, b);
  if (sign == "in") return contains(run, b, a);
  if (sign == "not in") return !contains(run, b, a);
  const std::optional<int> way = order(run, a, b, sign);
  if (!way) return false;
  if (sign == "<") return *way < 0;
  if (sign == "<=") return *way <= 0;
  return sign == ">" ? *way > 0 : *way >= 0;
}

}  // namespace

Value Evaluator::part(const Expr& e, size_t i) {
  return i < e.parts.size() && e.parts[i] != nullptr ? evaluate(*e.parts[i]) : Value();
}

Value Evaluator::evaluate(const Expr& e) {
  const Run::Deeper deeper(run_);
  run_.step();
  run_.set_line(e.line);
  return evaluate_parts(e);
}

Value Evaluator::evaluate_parts(const Expr& e) {
  switch (e.kind) {
    case ExprKind::kConst:
      return e.value;
    case ExprKind::kName:
      return lookup(e.text);
    case ExprKind::kList:
      return run_.list(values_of(e));
    case ExprKind::kTuple:
      return run_.list(values_of(e), Flavor::kTuple);
    case ExprKind::kDict:
      return make_dict(e);
    case ExprKind::kAttribute:
      return attribute(run_, part(e, 0), e.text);
    case ExprKind::kItem: {
      const Value value = part(e, 0);
      return subscript(run_, value, part(e, 1));
    }
    case ExprKind::kSlice: {
      const Value value = part(e, 0), begin = part(e, 1), end = part(e, 2);
      return slice(run_, value, begin, end, part(e, 3));
    }
    case ExprKind::kCall: {
      const Value callee = part(e, 0);
      Arguments arguments = arguments_of(e);
      run_.set_line(e.line);
      return call(callee, arguments);
    }
    case ExprKind::kFilter:
      return filter(e, part(e, 0));
    case ExprKind::kTest: {
      const Value value = part(e, 0);
      return call_test(run_, e.text, value, arguments_of(e));
    }
    case ExprKind::kNot:
      return !truth(run_, part(e, 0));
    case ExprKind::kNegative:
      return negated(run_, part(e, 0));
    case ExprKind::kPositive:
      return posited(run_, part(e, 0));
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return logical(e);
    case ExprKind::kConcat:
      return concatenate(e);
    case ExprKind::kCompare:
      return compare(e);
    case ExprKind::kConditional:
      if (truth(run_, part(e, 1))) return part(e, 0);
      if (e.parts[2] != nullptr) return part(e, 2);
      return Value::undefined("the inline if-expression evaluated to false and has no else");
    case ExprKind::kArithmetic:
      return arithmetic_of(e);
  }
  run_.fail("expected an expression");
}

Value Evaluator::lookup(const std::string& name) {
  for (const Scope* s = scope_.get(); s != nullptr; s = s->parent.get()) {
    if (const auto found = s->names.find(name); found != s->names.end()) return found->second;
  }
  if (std::optional<Value> global = find_global(run_, name)) return *std::move(global);
  return Value::undefined(fmt::format("'{}' is undefined", name));
}

std::vector<Value> Evaluator::values_of(const Expr& e, size_t first) {
  std::vector<Value> values;
  for (size_t i = first; i < e.parts.size(); ++i) values.push_back(part(e, i));
  return values;
}

Value Evaluator::make_dict(const Expr& e) {
  std::vector<std::pair<Value, Value>> entries;
  for (size_t i = 0; i + 1 < e.parts.size(); i += 2) {
    Value key = part(e, i);
    put(run_, entries, std::move(key), part(e, i + 1));
  }
  return run_.dict(std::move(entries));
}

Value Evaluator::arithmetic_of(const Expr& e) {
  const Value a = part(e, 0), b = part(e, 1);
  run_.set_line(e.line);
  const auto row = std::ranges::find(kSigns, e.signs[0], &SignRow::text);
  return arithmetic(run_, row->sign, a, b);
}

Value Evaluator::logical(const Expr& e) {
  const bool ends_at = e.kind == ExprKind::kOr;
  Value value;
  for (size_t i = 0; i < e.parts.size(); ++i) {
    value = part(e, i);
    if (i + 1 < e.parts.size() && truth(run_, value) == ends_at) break;
  }
  return value;
}

Value Evaluator::concatenate(const Expr& e) {
  std::string made;
  for (const Value& value : values_of(e)) {
    const std::string text = to_text(run_, value);
    run_.take(text.size());
    made += text;
  }
  return run_.text(std::move(made));
}

Value Evaluator::compare(const Expr& e) {
  Value left = part(e, 0);
  for (size_t i = 0; i < e.signs.size(); ++i) {
    Value right = part(e, i + 1);
    if (!compare_by(run_, e.signs[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Arguments Evaluator::arguments_of(const Expr& e) {
  Arguments arguments{values_of(e, 1), {}};
  for (const auto& [name, value] : e.named) arguments.named.emplace_back(name, evaluate(*value));
  if (e.star != nullptr) {
    for (Value& value : iterate(run_, evaluate(*e.star))) {
      arguments.positional.push_back(std::move(value));
    }
  }
  if (e.double_star != nullptr) {
    const Value more = evaluate(*e.double_star);
    if (more.dict() == nullptr) run_.fail("expected a dict after **, found {}", more.type_name());
    for (const auto& [key, value] : more.dict()->entries) {
      if (!key.is_text()) run_.fail("expected names after **, found {}", key.type_name());
      run_.step(1 + std::ssize(arguments.named) / 8);
      if (std::ranges::count(
              arguments.named, key.as_text(),
              [](const auto& n) -> const auto& { return n.first; }) > 0) {
        run_.fail("argument '{}' is given twice", key.as_text());
      }
      arguments.named.emplace_back(key.as_text(), value);
    }
  }
  return arguments;
}

Value Evaluator::call(const Value& callee, Arguments& arguments) {
  if (callee.is_undefined()) fail_undefined(run_, callee);
  Object* object = callee.object();
  if (object == nullptr || !object->callable()) {
    run_.fail("expected a function to call, found {}", callee.type_name());
  }
  const Run::Deeper deeper(run_);
  return object->call(run_, arguments);
}

Value Evaluator::filter(const Expr& e, const Value& input) {
  const Arguments arguments = arguments_of(e);
  run_.set_line(e.line);
  return call_filter(run_, e.text, input, arguments);
}

Value Evaluator::block_filters(const Expr& e, const Value& text) {
  const Run::Deeper deeper(run_);
  const Expr* inner = e.parts[0].get();
  return filter(e, inner == nullptr ? text : block_filters(*inner, text));
}

}  // namespace twofold::jinja

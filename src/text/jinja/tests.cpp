// Tests: `value is name`.
#include "text/jinja/characters.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"

namespace twofold::jinja {
namespace {

/// A test without arguments.
template <bool (*holds)(Run&, const Value&)>
bool plain(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "a test", arguments, {});
  return holds(run, input);
}

bool is_defined(Run&, const Value& v) { return !v.is_undefined(); }
bool is_undefined(Run&, const Value& v) { return v.is_undefined(); }
bool is_none(Run&, const Value& v) { return v.is_none(); }
bool is_boolean(Run&, const Value& v) { return v.is_bool(); }
bool is_true(Run&, const Value& v) { return v.is_bool() && v.as_bool(); }
bool is_false(Run&, const Value& v) { return v.is_bool() && !v.as_bool(); }
bool is_integer(Run&, const Value& v) { return v.is_int(); }
bool is_float(Run&, const Value& v) { return v.is_float(); }
bool is_number(Run&, const Value& v) { return v.is_number(); }
bool is_string(Run&, const Value& v) { return v.is_text(); }
bool is_mapping(Run&, const Value& v) { return v.dict() != nullptr; }
bool is_callable(Run&, const Value& v) {
  return v.is_undefined() || (v.object() != nullptr && v.object()->callable());
}
bool is_iterable_value(Run&, const Value& v) { return is_iterable(v); }
bool is_sequence(Run&, const Value& v) {
  if (v.is_text() || v.dict() != nullptr || v.is_undefined()) return true;
  const Sequence* s = v.sequence();
  return s != nullptr &&
         (s->flavor == Flavor::kList || s->flavor == Flavor::kTuple || s->flavor == Flavor::kRange);
}
bool is_lower(Run& run, const Value& v) { return has_case(to_text(run, v), false); }
bool is_upper(Run& run, const Value& v) { return has_case(to_text(run, v), true); }
bool is_filter(Run&, const Value& v) { return v.is_text() && has_filter(v.as_text()); }
bool is_test(Run&, const Value& v) { return v.is_text() && has_test(v.as_text()); }
bool is_escaped(Run&, const Value&) { return false; }

bool divides(Run& run, const Value& input, const Value& by) {
  return equal(run, arithmetic(run, Sign::kMod, input, by), int64_t{0});
}
bool is_even(Run& run, const Value& v) { return divides(run, v, int64_t{2}); }
bool is_odd(Run& run, const Value& v) {
  return equal(run, arithmetic(run, Sign::kMod, v, int64_t{2}), int64_t{1});
}

/// A test with one argument.
template <bool (*holds)(Run&, const Value&, const Value&)>
bool binary(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "a test", arguments, {"other"}, 1);
  return holds(run, input, a[0]);
}

bool is_equal(Run& run, const Value& a, const Value& b) { return equal(run, a, b); }
bool is_other(Run& run, const Value& a, const Value& b) { return !equal(run, a, b); }
bool is_less(Run& run, const Value& a, const Value& b) {
  return order(run, a, b, "<").value_or(0) < 0;
}
bool is_greater(Run& run, const Value& a, const Value& b) {
  return order(run, a, b, ">").value_or(0) > 0;
}
bool is_at_most(Run& run, const Value& a, const Value& b) {
  return order(run, a, b, "<=").value_or(1) <= 0;
}
bool is_at_least(Run& run, const Value& a, const Value& b) {
  return order(run, a, b, ">=").value_or(-1) >= 0;
}
bool is_in(Run& run, const Value& value, const Value& container) {
  return contains(run, container, value);
}
/// Python's `is`: scalars by value, all else by being the same object.
bool is_same(Run& run, const Value& a, const Value& b) {
  if (a.sequence() != nullptr) return a.sequence() == b.sequence();
  if (a.dict() != nullptr) return a.dict() == b.dict();
  return a.storage().index() == b.storage().index() && equal(run, a, b);
}

constexpr TestRow kTests[] = {
    {"defined", plain<is_defined>},
    {"undefined", plain<is_undefined>},
    {"none", plain<is_none>},
    {"boolean", plain<is_boolean>},
    {"true", plain<is_true>},
    {"false", plain<is_false>},
    {"integer", plain<is_integer>},
    {"float", plain<is_float>},
    {"number", plain<is_number>},
    {"string", plain<is_string>},
    {"mapping", plain<is_mapping>},
    {"sequence", plain<is_sequence>},
    {"iterable", plain<is_iterable_value>},
    {"callable", plain<is_callable>},
    {"lower", plain<is_lower>},
    {"upper", plain<is_upper>},
    {"even", plain<is_even>},
    {"odd", plain<is_odd>},
    {"filter", plain<is_filter>},
    {"test", plain<is_test>},
    {"escaped", plain<is_escaped>},
    {"divisibleby", binary<divides>},
    {"sameas", binary<is_same>},
    {"in", binary<is_in>},
    {"==", binary<is_equal>},
    {"eq", binary<is_equal>},
    {"equalto", binary<is_equal>},
    {"!=", binary<is_other>},
    {"ne", binary<is_other>},
    {"<", binary<is_less>},
    {"lt", binary<is_less>},
    {"lessthan", binary<is_less>},
    {">", binary<is_greater>},
    {"gt", binary<is_greater>},
    {"greaterthan", binary<is_greater>},
    {"<=", binary<is_at_most>},
    {"le", binary<is_at_most>},
    {">=", binary<is_at_least>},
    {"ge", binary<is_at_least>},
};

}  // namespace

std::span<const TestRow> tests() { return kTests; }

}  // namespace twofold::jinja

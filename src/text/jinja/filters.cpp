// Filters of single values: texts and numbers.
#include "text/jinja/filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "text/jinja/characters.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

namespace twofold::jinja {
namespace {

/// The input as text, counted.
std::string text_of(Run& run, const Value& input) {
  std::string text = to_text(run, input);
  run.take(text.size());
  run.scan(text.size());
  return text;
}

Value trim(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "trim", arguments, {"chars"});
  const std::string text = text_of(run, input);
  if (!a.given(0)) return run.text(std::string(stripped(text, Side::kBoth)));
  run.step(static_cast<int64_t>((text.size() / 64 + 1) * (a.text(0).size() / 64 + 1)));
  return run.text(std::string(stripped(text, a.text(0), Side::kBoth)));
}

template <std::string (*change)(std::string_view)>
Value changed(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "a change of case", arguments, {});
  run.step(1 + static_cast<int64_t>(text_of(run, input).size() / 8));
  return run.text(change(to_text(run, input)));
}

/// Jinja's own: words begin after spaces, hyphens and opening brackets.
std::string jinja_title(std::string_view text) {
  constexpr std::string_view kBefore = "-({[<";
  std::string made;
  bool begins = true;
  for (const std::string_view c : characters(text)) {
    const bool separates =
        kBefore.find(c) != std::string_view::npos || stripped(c, Side::kBoth).empty();
    made += separates ? std::string(c) : begins ? upper(c) : lower(c);
    begins = separates;
  }
  return made;
}

Value default_value(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "default", arguments, {"default_value", "boolean"});
  const bool keep = !input.is_undefined() && (!a.flag(1) || truth(run, input));
  return keep ? input : a.has(0) ? a[0] : run.text({});
}

Value replace(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "replace", arguments, {"old", "new", "count"}, 2);
  const std::string text = text_of(run, input), from = text_of(run, a[0]), to = text_of(run, a[1]);
  run.step(static_cast<int64_t>((text.size() / 64 + 1) * (from.size() / 64 + 1)));
  run.take(text.size() + (text.size() / std::max<size_t>(1, from.size()) + 1) * to.size());
  return run.text(replaced(text, from, to, a.given(2) ? a.integer(2, -1) : -1));
}

Value string(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "string", arguments, {});
  return run.text(text_of(run, input));
}

/// As many spaces; none for a negative number.
std::string spaces(Run& run, int64_t count) {
  const auto bytes = static_cast<size_t>(std::max<int64_t>(count, 0));
  run.take(bytes);
  return std::string(bytes, ' ');
}

Value indent(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "indent", arguments, {"width", "first", "blank"});
  const std::string indentation =
      a.has(0) && a[0].is_text() ? a[0].as_text() : spaces(run, a.integer(0, 4));
  const std::string text = text_of(run, input) + "\n";
  const std::vector<std::string_view> lines = split_lines(text, false);
  run.take(text.size() + lines.size() * indentation.size());
  std::string made = a.flag(1) ? indentation : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) made += '\n';
    if (i > 0 && (a.flag(2) || !lines[i].empty())) made += indentation;
    made += lines[i];
  }
  return run.text(std::move(made));
}

Value escape(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "escape", arguments, {});
  std::string made;
  for (const char c : text_of(run, input)) {
    made += c == '&'    ? "&amp;"
            : c == '<'  ? "&lt;"
            : c == '>'  ? "&gt;"
            : c == '\'' ? "&#39;"
            : c == '"'  ? "&#34;"
                        : std::string(1, c);
  }
  return run.text(std::move(made));
}

Value tojson(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonLayout layout;
  layout.ensure_ascii = a.flag(0);
  layout.sort_keys = a.flag(3);
  if (a.given(1)) {
    layout.indent = a[1].is_text() ? a[1].as_text() : spaces(run, a.integer(1, 0));
    layout.item_separator.pop_back();  // the line end is space enough
  }
  if (a.given(2)) {
    const std::vector<Value> parts = iterate(run, a[2]);
    if (parts.size() != 2 || !parts[0].is_text() || !parts[1].is_text()) {
      run.fail("tojson: expected two strings as separators, found {}", to_repr(run, a[2]));
    }
    layout.item_separator = parts[0].as_text();
    layout.key_separator = parts[1].as_text();
  }
  return run.text(to_json(run, input, layout));
}

Value format(Run& run, const Value& input, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    run.fail("format: expected arguments by position or by name, found both");
  }
  if (!arguments.named.empty()) {
    std::vector<std::pair<Value, Value>> entries;
    for (const auto& [name, value] : arguments.named) entries.emplace_back(Value(name), value);
    return run.text(printf_text(run, text_of(run, input), run.dict(std::move(entries))));
  }
  return run.text(
      printf_text(run, text_of(run, input), run.list(arguments.positional, Flavor::kTuple)));
}

Value truncate(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "truncate", arguments, {"length", "killwords", "end", "leeway"});
  const std::string text = text_of(run, input), end = a.text(2, "...");
  const int64_t limit = a.integer(0, 255), mark = count_characters(end);
  const int64_t leeway = a.given(3) ? a.integer(3, 5) : 5;
  if (limit < mark || leeway < 0) {
    run.fail("truncate: expected a length of at least {} and a leeway of at least 0, found {}, {}",
             mark, limit, leeway);
  }
  if (count_characters(text) <= limit || count_characters(text) - limit <= leeway) {
    return run.text(text);
  }
  std::string made = text.substr(0, byte_of_character(text, limit - mark));
  if (!a.flag(1)) {
    if (const size_t space = made.rfind(' '); space != std::string::npos) made.resize(space);
  }
  return run.text(made + end);
}

Value center(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "center", arguments, {"width"});
  Arguments width;
  width.positional.push_back(a.integer(0, 80));
  const Value method = *bound_method(run, run.text(text_of(run, input)), "center");
  return method.object()->call(run, width);
}

Value same(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "safe", arguments, {});
  return run.text(text_of(run, input));
}

/// int(text, base) of Python; none if it is no number.
std::optional<int64_t> parse_integer(Run& run, std::string_view text, int64_t base) {
  text = stripped(text, Side::kBoth);
  bool negative = false;
  if (text.starts_with('-') || text.starts_with('+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  const auto prefix = [&](char letter, int64_t of) {
    if (text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == letter &&
        (base == of || base == 0)) {
      text.remove_prefix(2);
      base = of;
    }
  };
  prefix('x', 16);
  prefix('o', 8);
  prefix('b', 2);
  if (base == 0) base = 10;
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && i > 0 && i + 1 < text.size() && text[i - 1] != '_') continue;
    digits += text[i];
  }
  uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, static_cast<int>(base));
  if (digits.empty() || end != digits.data() + digits.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range || value > uint64_t{1} << 62) {
    run.fail("int: expected a number of 64 bits, found {}", quoted_text(digits));
  }
  return negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

/// float(text) of Python.
std::optional<double> parse_float(std::string_view text) {
  text = stripped(text, Side::kBoth);
  std::string digits = lower(text);
  std::erase(digits, '_');
  std::string_view rest = digits;
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest.empty() || rest[0] == '-' || rest[0] == '+') return std::nullopt;
  if (rest == "infinity") rest = "inf";
  double value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (end != rest.data() + rest.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) {
    // Too large is infinite, too small is zero.
    const bool small = rest.find("e-") != std::string_view::npos;
    value = small ? 0 : std::numeric_limits<double>::infinity();
  } else if (error != std::errc()) {
    return std::nullopt;
  }
  return negative ? -value : value;
}

std::optional<double> float_of(Run& run, const Value& input) {
  if (input.is_undefined()) fail_undefined(run, input);
  if (input.is_number()) return input.as_float();
  return input.is_text() ? parse_float(input.as_text()) : std::nullopt;
}

Value to_int(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "int", arguments, {"default", "base"});
  if (input.is_number() && !input.is_float()) return input.as_int();
  if (input.is_text()) {
    if (const auto whole = parse_integer(run, input.as_text(), a.integer(1, 10))) return *whole;
  }
  const std::optional<double> number = float_of(run, input);
  const Value fallback = a.has(0) ? a[0] : Value(int64_t{0});
  if (!number || std::isnan(*number)) return fallback;
  if (std::isinf(*number)) {
    if (input.is_text()) return fallback;
    run.fail("int: expected a finite number, found infinity");
  }
  if (std::abs(*number) >= 0x1p63) run.fail("int: expected a number of 64 bits");
  return static_cast<int64_t>(*number);
}

Value to_float(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "float", arguments, {"default"});
  const std::optional<double> number = float_of(run, input);
  return number ? Value(*number) : a.has(0) ? a[0] : Value(0.0);
}

Value absolute(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "abs", arguments, {});
  if (input.is_undefined()) fail_undefined(run, input);
  if (!input.is_number()) run.fail("abs: expected a number, found {}", input.type_name());
  if (input.is_float()) return std::abs(input.as_float());
  return input.as_int() < 0 ? negated(run, input) : Value(input.as_int());
}

/// Rounds x half to even to a multiple of 10^zeros, as Python's round(x, -zeros) of an integer.
int64_t round_integer(Run& run, int64_t x, uint64_t zeros) {
  constexpr uint64_t kMostZeros = 19;  // 10^20 / 2 is beyond all of 64 bits
  if (zeros > kMostZeros) return 0;
  uint64_t unit = 1;
  for (uint64_t i = 0; i < zeros; ++i) unit *= 10;
  const bool negative = x < 0;
  const uint64_t size = negative ? 0 - static_cast<uint64_t>(x) : static_cast<uint64_t>(x);
  const uint64_t below = size % unit, above = unit - below;
  uint64_t rounded = size - below;
  if (below > above || (below == above && size / unit % 2 == 1)) rounded += unit;
  constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
  if (rounded > kMost + (negative ? 1 : 0)) {
    run.fail("round: expected a result that 64 bits hold, found an overflow");
  }
  return static_cast<int64_t>(negative ? 0 - rounded : rounded);
}

/// Rounds half to even in decimal, as Python's round(x, digits).
double round_decimal(double x, int64_t digits) {
  if (!std::isfinite(x) || digits > 300) return x;
  if (digits >= 0) {
    const std::string text = fmt::format("{:.{}f}", x, static_cast<int>(digits));
    return std::stod(text);
  }
  const double unit = std::pow(10.0, -static_cast<double>(digits));
  return std::isinf(unit) ? std::copysign(0.0, x) : std::nearbyint(x / unit) * unit;
}

Value round(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "round", arguments, {"precision", "method"});
  const std::string method = a.text(1, "common");
  const bool up = method == "ceil", down = method == "floor";
  if (!up && !down && method != "common") {
    run.fail("round: expected common, ceil or floor, found {}", quoted_text(method));
  }
  if (input.is_undefined()) fail_undefined(run, input);
  if (!input.is_number()) run.fail("round: expected a number, found {}", input.type_name());
  const int64_t digits = a.integer(0, 0);
  if (!up && !down) {
    if (input.is_float()) return round_decimal(input.as_float(), digits);
    if (digits >= 0) return input.as_int();
    return round_integer(run, input.as_int(), 0 - static_cast<uint64_t>(digits));
  }
  if (digits < 0 || digits > 18) run.fail("round: expected 0 to 18 digits, found {}", digits);
  double unit = 1;
  for (int64_t i = 0; i < digits; ++i) unit *= 10;
  const double scaled = input.as_float() * unit;
  if (!(std::abs(scaled) < 0x1p63)) run.fail("round: expected a smaller number");
  return (up ? std::ceil(scaled) : std::floor(scaled)) / unit;
}

Value wordcount(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "wordcount", arguments, {});
  const std::string text = text_of(run, input);
  int64_t words = 0;
  bool inside = false;
  for (const std::string_view c : characters(text)) {
    const bool word = c == "_" || has_case(c, true) || has_case(c, false) ||
                      c.find_first_not_of("0123456789") == std::string_view::npos;
    words += word && !inside ? 1 : 0;
    inside = word;
  }
  return words;
}

constexpr FilterRow kFilters[] = {
    {"abs", absolute},
    {"capitalize", changed<capitalized>},
    {"center", center},
    {"d", default_value},
    {"default", default_value},
    {"e", escape},
    {"escape", escape},
    {"float", to_float},
    {"format", format},
    {"indent", indent},
    {"int", to_int},
    {"lower", changed<lower>},
    {"replace", replace},
    {"round", round},
    {"safe", same},
    {"string", string},
    {"title", changed<jinja_title>},
    {"tojson", tojson},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", changed<upper>},
    {"wordcount", wordcount},
};

template <class Row>
const Row* find_row(std::span<const Row> rows, std::string_view name) {
  const auto found = std::ranges::find(rows, name, &Row::name);
  return found == rows.end() ? nullptr : &*found;
}

const FilterRow* find_filter(std::string_view name) {
  const FilterRow* found = find_row(value_filters(), name);
  return found != nullptr ? found : find_row(list_filters(), name);
}

template <class Row>
void add_names(std::string& names, std::span<const Row> rows) {
  for (const Row& row : rows) {
    if (!names.empty()) names += ", ";
    names += row.name;
  }
}

}  // namespace

std::span<const FilterRow> value_filters() { return kFilters; }

bool has_filter(std::string_view name) { return find_filter(name) != nullptr; }
bool has_test(std::string_view name) { return find_row(tests(), name) != nullptr; }

Value call_filter(Run& run, std::string_view name, const Value& input, const Arguments& arguments) {
  run.step();
  if (const FilterRow* row = find_filter(name)) return row->filter(run, input, arguments);
  std::string names;
  add_names(names, value_filters());
  add_names(names, list_filters());
  run.fail("expected a filter of {}; found '{}'", names, name);
}

bool call_test(Run& run, std::string_view name, const Value& input, const Arguments& arguments) {
  run.step();
  if (const TestRow* row = find_row(tests(), name)) return row->test(run, input, arguments);
  std::string names;
  add_names(names, tests());
  run.fail("expected a test of {}; found '{}'", names, name);
}

}  // namespace twofold::jinja

#include "text/jinja/methods.h"

#include <algorithm>
#include <span>

#include "text/jinja/characters.h"
#include "text/jinja/operators.h"
#include "text/unicode.h"

namespace twofold::jinja {
namespace {

using Method = Value (*)(Run& run, const Value& self, const Arguments& arguments);
struct MethodRow {
  std::string_view name;
  Method method;
};

/// Counts a search for `part` in `text` at its worst.
void count_search(Run& run, std::string_view text, std::string_view part) {
  run.step(static_cast<int64_t>((text.size() / 64 + 1) * (part.size() / 64 + 1)));
}

Value texts(Run& run, const std::vector<std::string_view>& parts) {
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(run.text(std::string(part)));
  return run.list(std::move(items));
}

template <Side side>
Value strip(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "strip", arguments, {"chars"});
  const std::string& text = self.as_text();
  run.scan(text.size());
  if (!a.given(0)) return run.text(std::string(stripped(text, side)));
  count_search(run, text, a.text(0));
  return run.text(std::string(stripped(text, a.text(0), side)));
}

template <bool from_right>
Value split(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "split", arguments, {"sep", "maxsplit"});
  const std::string& text = self.as_text();
  const int64_t limit = a.integer(1, -1);
  run.scan(text.size());
  run.take(text.size() * sizeof(std::string_view));
  if (!a.given(0)) {
    return texts(run, from_right ? split_space_right(text, limit) : split_space(text, limit));
  }
  const std::string& separator = a.text(0);
  if (separator.empty()) run.fail("split: expected a separator, found an empty string");
  count_search(run, text, separator);
  return texts(
      run, from_right ? split_at_right(text, separator, limit) : split_at(text, separator, limit));
}

template <bool at_end>
Value begins(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, at_end ? "endswith" : "startswith", arguments, {"prefix", "start", "end"}, 1);
  std::string_view text = self.as_text();
  run.scan(text.size());
  if (a.given(1) || a.given(2)) {
    const SliceRange range = slice_range(run, count_characters(text), a.given(1) ? a[1] : Value(),
                                         a.given(2) ? a[2] : Value(), Value());
    if (range.begin > range.end) return false;
    text.remove_prefix(byte_of_character(text, range.begin));
    text = text.substr(0, byte_of_character(text, range.end - range.begin));
  }
  const auto matches = [&](const Value& part) {
    if (!part.is_text()) {
      run.fail("startswith: expected a string or a tuple of strings, found {}", part.type_name());
    }
    return at_end ? text.ends_with(part.as_text()) : text.starts_with(part.as_text());
  };
  const Sequence* parts = a[0].sequence();
  if (parts == nullptr || parts->flavor != Flavor::kTuple) return matches(a[0]);
  run.step(std::ssize(parts->items));
  return std::ranges::any_of(parts->items, matches);
}

Value replace(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "replace", arguments, {"old", "new", "count"}, 2);
  const std::string &text = self.as_text(), &from = a.text(0), &to = a.text(1);
  count_search(run, text, from);
  // Upper bound of what may be made.
  run.take(text.size() + (text.size() / std::max<size_t>(1, from.size()) + 1) * to.size());
  return run.text(replaced(text, from, to, a.integer(2, -1)));
}

template <std::string (*change)(std::string_view)>
Value changed(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "a change of case", arguments, {});
  run.step(1 + std::ssize(self.as_text()) / 8);
  return run.text(change(self.as_text()));
}

Value join(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "join", arguments, {"iterable"}, 1);
  if (a[0].is_undefined()) return run.text({});
  std::string made;
  bool first = true;
  for (const Value& item : iterate(run, a[0])) {
    if (!item.is_text()) run.fail("join: expected strings, found {}", item.type_name());
    if (!first) made += self.as_text();
    first = false;
    made += item.as_text();
    run.take(item.as_text().size() + self.as_text().size());
  }
  return run.text(std::move(made));
}

/// Where `part` begins, in characters, or -1.
int64_t find_in(Run& run, const Value& self, const Bound& a, bool from_right) {
  const std::string_view text = self.as_text();
  const std::string& part = a.text(0);
  count_search(run, text, part);
  const int64_t n = count_characters(text);
  const SliceRange range =
      slice_range(run, n, a.given(1) ? a[1] : Value(), a.given(2) ? a[2] : Value(), Value());
  if (range.begin > range.end) return -1;
  if (a.given(1) && a[1].as_int() > n) return -1;
  const size_t from = byte_of_character(text, range.begin);
  const std::string_view rest = text.substr(from);
  const std::string_view part_of_text =
      rest.substr(0, byte_of_character(rest, range.end - range.begin));
  const size_t found = from_right ? part_of_text.rfind(part) : part_of_text.find(part);
  if (found == std::string_view::npos) return -1;
  return range.begin + count_characters(part_of_text.substr(0, found));
}

template <bool from_right, bool must>
Value find(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "find", arguments, {"sub", "start", "end"}, 1);
  const int64_t at = find_in(run, self, a, from_right);
  if (must && at < 0) run.fail("index: the string does not hold {}", quoted_text(a.text(0)));
  return at;
}

Value count(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "count", arguments, {"sub"}, 1);
  const std::string_view text = self.as_text();
  const std::string& part = a.text(0);
  count_search(run, text, part);
  if (part.empty()) return count_characters(text) + 1;
  int64_t found = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; at += part.size()) {
    ++found;
  }
  return found;
}

Value splitlines(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "splitlines", arguments, {"keepends"});
  run.scan(self.as_text().size());
  return texts(run, split_lines(self.as_text(), a.flag(0)));
}

template <bool from_right>
Value partition(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "partition", arguments, {"sep"}, 1);
  const std::string &text = self.as_text(), &separator = a.text(0);
  if (separator.empty()) run.fail("partition: expected a separator, found an empty string");
  count_search(run, text, separator);
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  std::vector<Value> parts;
  const bool none = at == std::string::npos;
  const std::string before = none ? (from_right ? "" : text) : text.substr(0, at);
  const std::string after = none ? (from_right ? text : "") : text.substr(at + separator.size());
  for (const std::string& part : {before, none ? std::string() : separator, after}) {
    parts.push_back(run.text(part));
  }
  return run.list(std::move(parts), Flavor::kTuple);
}

template <bool at_end>
Value remove_affix(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, at_end ? "removesuffix" : "removeprefix", arguments, {"affix"}, 1);
  const std::string &text = self.as_text(), &affix = a.text(0);
  run.scan(text.size());
  const bool has = at_end ? text.ends_with(affix) : text.starts_with(affix);
  if (!has) return self;
  return run.text(at_end ? text.substr(0, text.size() - affix.size()) : text.substr(affix.size()));
}

enum class Justify { kLeft, kRight, kCenter };
template <Justify side>
Value justify(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "justify", arguments, {"width", "fillchar"}, 1);
  const std::string fill = a.text(1, " ");
  if (count_characters(fill) != 1) run.fail("expected one character to fill with");
  const int64_t n = count_characters(self.as_text());
  const int64_t space = std::max(n, a.integer(0, 0)) - n;
  run.take(static_cast<size_t>(space));  // before it is multiplied
  run.take(static_cast<size_t>(space) * fill.size() + self.as_text().size());
  // Python's center puts the odd character on the left if the width is odd.
  const int64_t half = space / 2 + (space & (n + space) & 1);
  const int64_t left = side == Justify::kLeft ? 0 : side == Justify::kRight ? space : half;
  std::string made;
  for (int64_t i = 0; i < left; ++i) made += fill;
  made += self.as_text();
  for (int64_t i = left; i < space; ++i) made += fill;
  return run.text(std::move(made));
}

Value zfill(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "zfill", arguments, {"width"}, 1);
  std::string text = self.as_text();
  const int64_t n = count_characters(text);
  const int64_t space = std::max(n, a.integer(0, 0)) - n;
  run.take(static_cast<size_t>(space));
  const bool sign = text.starts_with('-') || text.starts_with('+');
  text.insert(sign ? 1 : 0, static_cast<size_t>(space), '0');
  return run.text(std::move(text));
}

template <bool (*holds)(char32_t)>
Value all_are(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "a test of characters", arguments, {});
  const std::string& text = self.as_text();
  run.scan(text.size());
  for (size_t at = 0; at < text.size(); at += character_bytes(text, at)) {
    if (!holds(code_point(text, at))) return false;
  }
  return !text.empty();
}
bool is_letter_or_digit(char32_t c) { return is_letter(c) || is_decimal(c); }

template <bool upper_case>
Value is_case(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "isupper", arguments, {});
  run.scan(self.as_text().size());
  return has_case(self.as_text(), upper_case);
}

Value isascii(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "isascii", arguments, {});
  run.scan(self.as_text().size());
  return std::ranges::all_of(self.as_text(),
                             [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

Value format(Run& run, const Value& self, const Arguments& arguments) {
  return run.text(format_text(run, self.as_text(), arguments));
}

constexpr MethodRow kTextMethods[] = {
    {"strip", strip<Side::kBoth>},
    {"lstrip", strip<Side::kLeft>},
    {"rstrip", strip<Side::kRight>},
    {"split", split<false>},
    {"rsplit", split<true>},
    {"startswith", begins<false>},
    {"endswith", begins<true>},
    {"replace", replace},
    {"upper", changed<upper>},
    {"lower", changed<lower>},
    {"casefold", changed<lower>},
    {"title", changed<titled>},
    {"capitalize", changed<capitalized>},
    {"swapcase", changed<swapped_case>},
    {"join", join},
    {"find", find<false, false>},
    {"rfind", find<true, false>},
    {"index", find<false, true>},
    {"rindex", find<true, true>},
    {"count", count},
    {"splitlines", splitlines},
    {"partition", partition<false>},
    {"rpartition", partition<true>},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"ljust", justify<Justify::kLeft>},
    {"rjust", justify<Justify::kRight>},
    {"center", justify<Justify::kCenter>},
    {"zfill", zfill},
    {"isspace", all_are<is_python_space>},
    {"isdigit", all_are<is_decimal>},
    {"isdecimal", all_are<is_decimal>},
    {"isnumeric", all_are<is_decimal>},
    {"isalpha", all_are<is_letter>},
    {"isalnum", all_are<is_letter_or_digit>},
    {"isupper", is_case<true>},
    {"islower", is_case<false>},
    {"isascii", isascii},
    {"format", format},
};
constexpr std::string_view kOtherTextMethods[] = {"encode",       "expandtabs", "format_map",
                                                  "isidentifier", "istitle",    "isprintable",
                                                  "maketrans",    "translate"};

Value dict_get(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "get", arguments, {"key", "default"}, 1);
  const Value* found = find_key(run, *self.dict(), a[0]);
  return found != nullptr ? *found : a.has(1) ? a[1] : Value();
}

template <Flavor flavor>
Value dict_view(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "a view of a dict", arguments, {});
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict()->entries) {
    items.push_back(flavor == Flavor::kKeys     ? key
                    : flavor == Flavor::kValues ? value
                                                : run.pair(key, value));
  }
  run.step(std::ssize(items));
  return run.list(std::move(items), flavor);
}

Value copy(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "copy", arguments, {});
  return self;
}

constexpr MethodRow kDictMethods[] = {
    {"get", dict_get},
    {"items", dict_view<Flavor::kItems>},
    {"keys", dict_view<Flavor::kKeys>},
    {"values", dict_view<Flavor::kValues>},
    {"copy", copy},
};

Value list_index(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "index", arguments, {"value"}, 1);
  const std::vector<Value>& items = self.sequence()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (equal(run, items[i], a[0])) return static_cast<int64_t>(i);
  }
  run.fail("index: the list does not hold {}", to_repr(run, a[0]));
}

Value list_count(Run& run, const Value& self, const Arguments& arguments) {
  const Bound a(run, "count", arguments, {"value"}, 1);
  return static_cast<int64_t>(std::ranges::count_if(
      self.sequence()->items, [&](const Value& item) { return equal(run, item, a[0]); }));
}

constexpr MethodRow kListMethods[] = {
    {"index", list_index},
    {"count", list_count},
    {"copy", copy},
};
constexpr std::span<const MethodRow> kTupleMethods = std::span(kListMethods).first(2);

class BoundMethod : public Object {
 public:
  BoundMethod(Value self, Method method) : self_(std::move(self)), method_(method) {}
  Value call(Run& run, Arguments& arguments) override { return method_(run, self_, arguments); }
  int depth() const override { return self_.depth() + 1; }

 private:
  Value self_;
  Method method_;
};

std::span<const MethodRow> methods_of(const Value& value) {
  if (value.is_text()) return kTextMethods;
  if (value.dict() != nullptr) return kDictMethods;
  const Sequence* s = value.sequence();
  if (s == nullptr) return {};
  if (s->flavor == Flavor::kList) return kListMethods;
  if (s->flavor == Flavor::kTuple || s->flavor == Flavor::kRange) return kTupleMethods;
  return {};
}

}  // namespace

std::optional<Value> bound_method(Run& run, const Value& value, std::string_view name) {
  const std::span<const MethodRow> rows = methods_of(value);
  const auto found = std::ranges::find(rows, name, &MethodRow::name);
  if (found != rows.end()) return run.object(std::make_shared<BoundMethod>(value, found->method));
  if (value.is_text() && std::ranges::count(kOtherTextMethods, name) > 0) {
    run.fail("expected a method of strings that is supported, found '{}'", name);
  }
  return std::nullopt;
}

std::string format_text(Run& run, std::string_view format, const Arguments& arguments) {
  std::string made;
  size_t next = 0;
  for (size_t at = 0; at < format.size(); ++at) {
    const char c = format[at];
    if ((c == '{' || c == '}') && at + 1 < format.size() && format[at + 1] == c) {
      made += c;
      ++at;
      continue;
    }
    if (c == '}') run.fail("format: found a single '}}'");
    if (c != '{') {
      made += c;
      continue;
    }
    const size_t end = format.find('}', at);
    if (end == std::string_view::npos) run.fail("format: expected '}}' after '{{'");
    const std::string_view field = format.substr(at + 1, end - at - 1);
    const Value* value = nullptr;
    if (field.find_first_not_of("0123456789") == std::string_view::npos && field.size() < 6) {
      const size_t i = field.empty() ? next++ : static_cast<size_t>(std::stoi(std::string(field)));
      if (i < arguments.positional.size()) value = &arguments.positional[i];
    } else {
      for (const auto& [name, named] : arguments.named) {
        if (name == field) value = &named;
      }
    }
    if (value == nullptr) run.fail("format: expected a value for the field '{}'", field);
    const std::string text = to_text(run, *value);
    run.take(text.size());
    made += text;
    at = end;
  }
  return made;
}

}  // namespace twofold::jinja

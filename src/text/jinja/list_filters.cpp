// Filters of lists and dicts.
#include <algorithm>

#include "text/jinja/characters.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"

namespace twofold::jinja {
namespace {

/// The items of an input, which for undefined are none.
std::vector<Value> items_of(Run& run, const Value& input) { return iterate(run, input); }

Value generator(Run& run, std::vector<Value> items) {
  return run.list(std::move(items), Flavor::kGenerator);
}

/// What an attribute argument names in an item: "a.b.0" looks up one after the other.
class Getter {
 public:
  Getter(Run& run, const Value& attribute) : run_(run) {
    if (attribute.is_none()) return;
    if (!attribute.is_text()) {
      parts_.push_back(attribute);
      return;
    }
    for (const std::string_view part : split_at(attribute.as_text(), ".", -1)) {
      const bool number = !part.empty() && part.size() < 10 &&
                          part.find_first_not_of("0123456789") == std::string_view::npos;
      parts_.push_back(number ? Value(int64_t{std::stoi(std::string(part))})
                              : Value(std::string(part)));
    }
  }
  Value operator()(Value item) const {
    for (const Value& part : parts_) item = subscript(run_, item, part);
    return item;
  }

 private:
  Run& run_;
  std::vector<Value> parts_;
};

Value ignore_case(Run& run, const Value& value) {
  if (!value.is_text()) return value;
  run.scan(value.as_text().size());
  return run.text(lower(value.as_text()));
}

/// What items are compared by: attributes of theirs, with or without case.
Value key_of(Run& run, const std::vector<Getter>& getters, const Value& item, bool with_case) {
  std::vector<Value> key;
  for (const Getter& get : getters) {
    const Value part = get(item);
    key.push_back(with_case ? part : ignore_case(run, part));
  }
  return getters.size() == 1 ? key[0] : run.list(std::move(key));
}

std::vector<Getter> getters_of(Run& run, const Bound& a, size_t i) {
  std::vector<Getter> getters;
  if (!a.given(i) || !a[i].is_text()) {
    getters.emplace_back(run, a.has(i) ? a[i] : Value());
    return getters;
  }
  for (const std::string_view part : split_at(a[i].as_text(), ",", -1)) {
    getters.emplace_back(run, Value(std::string(part)));
  }
  return getters;
}

/// Sorted by keys; equal ones keep their order.
std::vector<Value> sorted(Run& run, const std::vector<Value>& items, const std::vector<Value>& keys,
                          bool reverse) {
  std::vector<size_t> places(items.size());
  for (size_t i = 0; i < places.size(); ++i) places[i] = i;
  const auto before = [&](size_t i, size_t j) {
    return order(run, keys[i], keys[j], "<").value_or(0) < 0;
  };
  std::ranges::stable_sort(
      places, [&](size_t i, size_t j) { return reverse ? before(j, i) : before(i, j); });
  std::vector<Value> made;
  for (const size_t i : places) made.push_back(items[i]);
  return made;
}

Value sort(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const std::vector<Value> items = items_of(run, input);
  const std::vector<Getter> getters = getters_of(run, a, 2);
  std::vector<Value> keys;
  for (const Value& item : items) keys.push_back(key_of(run, getters, item, a.flag(1)));
  return run.list(sorted(run, items, keys, a.flag(0)));
}

std::vector<Value> entries_of(Run& run, const Value& input, std::string_view filter) {
  if (input.dict() == nullptr) {
    run.fail("{}: expected a dict, found {}", filter, input.type_name());
  }
  std::vector<Value> entries;
  for (const auto& [key, value] : input.dict()->entries) entries.push_back(run.pair(key, value));
  run.step(std::ssize(entries));
  return entries;
}

Value dictsort(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = a.text(1, "key");
  if (by != "key" && by != "value") run.fail("dictsort: expected key or value, found {}", by);
  if (input.is_undefined()) fail_undefined(run, input);
  const std::vector<Value> entries = entries_of(run, input, "dictsort");
  std::vector<Value> keys;
  for (const Value& entry : entries) {
    const Value& key = entry.sequence()->items[by == "key" ? 0 : 1];
    keys.push_back(a.flag(0) ? key : ignore_case(run, key));
  }
  return run.list(sorted(run, entries, keys, a.flag(2)));
}

Value unique(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "unique", arguments, {"case_sensitive", "attribute"});
  const Getter get(run, a.has(1) ? a[1] : Value());
  std::vector<Value> items, keys;
  for (const Value& item : items_of(run, input)) {
    const Value part = get(item);
    const Value key = a.flag(0) ? part : ignore_case(run, part);
    if (std::ranges::any_of(keys, [&](const Value& k) { return equal(run, k, key); })) continue;
    keys.push_back(key);
    items.push_back(item);
  }
  return generator(run, std::move(items));
}

template <bool greatest>
Value extreme(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, greatest ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const Getter get(run, a.has(1) ? a[1] : Value());
  std::optional<Value> best, best_key;
  for (const Value& item : items_of(run, input)) {
    const Value part = get(item);
    const Value key = a.flag(0) ? part : ignore_case(run, part);
    const int sign = best ? order(run, key, *best_key, "<").value_or(0) : -1;
    if (!best || (greatest ? sign > 0 : sign < 0)) {
      best = item;
      best_key = key;
    }
  }
  return best ? *best : Value::undefined("No aggregated item, sequence was empty.");
}

Value sum(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "sum", arguments, {"attribute", "start"});
  const Getter get(run, a.has(0) ? a[0] : Value());
  Value total = a.has(1) ? a[1] : Value(int64_t{0});
  for (const Value& item : items_of(run, input)) {
    total = arithmetic(run, Sign::kAdd, total, get(item));
  }
  return total;
}

Value join(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "join", arguments, {"d", "attribute"});
  const std::string separator = a.has(0) ? to_text(run, a[0]) : std::string();
  const Getter get(run, a.has(1) ? a[1] : Value());
  std::string made;
  bool first = true;
  for (const Value& item : items_of(run, input)) {
    const std::string text = to_text(run, get(item));
    run.take(text.size() + separator.size());
    if (!first) made += separator;
    first = false;
    made += text;
  }
  return run.text(std::move(made));
}

Value count(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "length", arguments, {});
  return length(run, input);
}

Value first(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "first", arguments, {});
  if (input.is_generator()) {
    Sequence& s = *input.sequence();
    if (s.taken < s.items.size()) return s.items[s.taken++];
    return Value::undefined("No first item, sequence was empty.");
  }
  const std::vector<Value> items = items_of(run, input);
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Value last(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "last", arguments, {});
  if (input.is_generator()) run.fail("last: expected a list, found the items of a filter");
  const std::vector<Value> items = items_of(run, input);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value list(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "list", arguments, {});
  return run.list(items_of(run, input));
}

Value reverse(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "reverse", arguments, {});
  if (input.is_text()) return slice(run, input, {}, {}, int64_t{-1});
  std::vector<Value> items = items_of(run, input);
  std::ranges::reverse(items);
  const bool copies = input.is_generator() || input.is_undefined();
  return run.list(std::move(items), copies ? Flavor::kList : Flavor::kGenerator);
}

Value items(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "items", arguments, {});
  if (input.is_undefined()) return generator(run, {});
  return generator(run, entries_of(run, input, "items"));
}

/// Fewer arguments: without the first `count`.
Arguments rest_of(const Arguments& arguments, size_t count) {
  return {{arguments.positional.begin() + static_cast<std::ptrdiff_t>(count),
           arguments.positional.end()},
          arguments.named};
}

const std::string& name_of(Run& run, const Value& value, std::string_view filter) {
  if (!value.is_text()) run.fail("{}: expected a name, found {}", filter, value.type_name());
  return value.as_text();
}

Value map(Run& run, const Value& input, const Arguments& arguments) {
  const Run::Deeper deeper(run);
  std::vector<Value> made;
  const bool by_attribute =
      arguments.positional.empty() &&
      std::ranges::any_of(arguments.named, [](const auto& n) { return n.first == "attribute"; });
  if (by_attribute) {
    const Bound a(run, "map", arguments, {"attribute", "default"});
    const Getter get(run, a[0]);
    if (!truth(run, input)) return generator(run, {});
    for (const Value& item : items_of(run, input)) {
      Value value = get(item);
      if (value.is_undefined() && a.given(1)) value = a[1];
      made.push_back(std::move(value));
    }
    return generator(run, std::move(made));
  }
  if (!truth(run, input)) return generator(run, {});
  if (arguments.positional.empty()) run.fail("map: expected a filter or attribute=");
  const std::string& name = name_of(run, arguments.positional[0], "map");
  const Arguments rest = rest_of(arguments, 1);
  for (const Value& item : items_of(run, input)) {
    made.push_back(call_filter(run, name, item, rest));
  }
  return generator(run, std::move(made));
}

/// select, reject and both by an attribute: items for which a test holds, or does not.
template <bool by_attribute, bool wanted>
Value choose(Run& run, const Value& input, const Arguments& arguments) {
  constexpr size_t kOffset = by_attribute ? 1 : 0;
  if (!truth(run, input)) return generator(run, {});
  if (arguments.positional.size() < kOffset) run.fail("selectattr: expected an attribute");
  const Getter get(run, by_attribute ? arguments.positional[0] : Value());
  const bool tested = arguments.positional.size() > kOffset;
  const Arguments rest = rest_of(arguments, kOffset + (tested ? 1 : 0));
  std::vector<Value> made;
  for (const Value& item : items_of(run, input)) {
    const Value value = get(item);
    const bool holds =
        tested ? call_test(run, name_of(run, arguments.positional[kOffset], "select"), value, rest)
               : truth(run, value);
    if (holds == wanted) made.push_back(item);
  }
  return generator(run, std::move(made));
}

Value batch(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "batch", arguments, {"linecount", "fill_with"}, 1);
  const int64_t size = a.integer(0, 1);
  std::vector<Value> lists, row;
  for (const Value& item : items_of(run, input)) {
    if (std::ssize(row) == size) lists.push_back(run.list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    if (a.given(1) && std::ssize(row) < size) {
      run.step(size);
      run.take(static_cast<size_t>(size) * sizeof(Value));
      row.resize(static_cast<size_t>(size), a[1]);
    }
    lists.push_back(run.list(std::move(row)));
  }
  return generator(run, std::move(lists));
}

Value slices(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "slice", arguments, {"slices", "fill_with"}, 1);
  const int64_t count = a.integer(0, 1);
  if (count < 1) run.fail("slice: expected at least one slice, found {}", count);
  run.step(count);
  const std::vector<Value> items = items_of(run, input);
  const int64_t each = std::ssize(items) / count, more = std::ssize(items) % count;
  std::vector<Value> lists;
  size_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto size = static_cast<size_t>(each + (i < more ? 1 : 0));
    std::vector<Value> row(items.begin() + static_cast<std::ptrdiff_t>(at),
                           items.begin() + static_cast<std::ptrdiff_t>(at + size));
    at += size;
    if (a.given(1) && i >= more) row.push_back(a[1]);
    lists.push_back(run.list(std::move(row)));
  }
  return generator(run, std::move(lists));
}

Value attr(Run& run, const Value& input, const Arguments& arguments) {
  const Bound a(run, "attr", arguments, {"name"}, 1);
  if (input.dict() == nullptr) return attribute(run, input, a.text(0));
  // Only what a dict itself has, not its keys.
  return attribute(run, run.dict({}), a.text(0));
}

constexpr FilterRow kFilters[] = {
    {"attr", attr},
    {"batch", batch},
    {"count", count},
    {"dictsort", dictsort},
    {"first", first},
    {"items", items},
    {"join", join},
    {"last", last},
    {"length", count},
    {"list", list},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", choose<false, false>},
    {"rejectattr", choose<true, false>},
    {"reverse", reverse},
    {"select", choose<false, true>},
    {"selectattr", choose<true, true>},
    {"slice", slices},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

std::span<const FilterRow> list_filters() { return kFilters; }

}  // namespace twofold::jinja

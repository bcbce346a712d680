// Subscripts, attributes and keys.
#include <algorithm>

#include "text/jinja/characters.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

namespace twofold::jinja {
namespace {

/// The i-th item by Python's rules (negative from the end), or none.
std::optional<Value> item_at(Run& run, const Value& value, int64_t i) {
  if (value.is_text()) {
    run.scan(value.as_text().size());
    const std::string& text = value.as_text();
    const int64_t n = count_characters(text);
    if (i < 0) i += n;
    if (i < 0 || i >= n) return std::nullopt;
    const size_t at = byte_of_character(text, i);
    return run.text(text.substr(at, byte_of_character(std::string_view(text).substr(at), 1)));
  }
  const Sequence* s = value.sequence();
  if (s == nullptr ||
      (s->flavor != Flavor::kList && s->flavor != Flavor::kTuple && s->flavor != Flavor::kRange)) {
    return std::nullopt;
  }
  const int64_t n = std::ssize(s->items);
  if (i < 0) i += n;
  if (i < 0 || i >= n) return std::nullopt;
  return s->items[static_cast<size_t>(i)];
}

std::optional<Value> item_of(Run& run, const Value& value, const Value& key) {
  if (const Dict* d = value.dict()) {
    const bool hashable = key.dict() == nullptr &&
                          !(key.sequence() != nullptr && key.sequence()->flavor == Flavor::kList);
    const Value* found = hashable ? find_key(run, *d, key) : nullptr;
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  if (Object* o = value.object()) return o->item(run, key);
  if (key.is_number() && !key.is_float()) return item_at(run, value, key.as_int());
  return std::nullopt;
}

/// A method, or what an object has; nothing whose name begins with an underscore.
std::optional<Value> attribute_of(Run& run, const Value& value, std::string_view name) {
  if (name.starts_with('_')) return std::nullopt;
  if (Object* o = value.object()) return o->attribute(run, name);
  return bound_method(run, value, name);
}

std::string object_words(const Value& value) {
  return value.is_none() ? "None" : value.type_name() + " object";
}

/// Start, stop and step of a slice of a range.
std::array<int64_t, 3> sliced_bounds(Run& run, const std::array<int64_t, 3>& bounds,
                                     const SliceRange& range) {
  const auto& [first, end, step] = bounds;
  std::array<int64_t, 3> made{};
  int64_t from = 0, to = 0;
  if (__builtin_mul_overflow(range.begin, step, &from) ||
      __builtin_mul_overflow(range.end, step, &to) ||
      __builtin_add_overflow(first, from, &made[0]) ||
      __builtin_add_overflow(first, to, &made[1]) ||
      __builtin_mul_overflow(step, range.given_step, &made[2])) {
    run.fail("expected a range of numbers that 64 bits hold, found an overflow");
  }
  return made;
}

}  // namespace

const Value* find_key(Run& run, const Dict& dict, const Value& key) {
  const Sequence* s = key.sequence();
  if (key.dict() != nullptr || (s != nullptr && s->flavor == Flavor::kList)) {
    run.fail("expected a key that does not change, found {}", key.type_name());
  }
  run.step(1 + std::ssize(dict.entries) / 8);
  for (const auto& [name, value] : dict.entries) {
    const bool same = name.is_text() && key.is_text()
                          ? name.as_text() == key.as_text()
                          : name.is_text() == key.is_text() && equal(run, name, key);
    if (same) return &value;
  }
  return nullptr;
}

void put(Run& run, std::vector<std::pair<Value, Value>>& entries, Value key, Value value) {
  if (key.dict() != nullptr ||
      (key.sequence() != nullptr && key.sequence()->flavor == Flavor::kList)) {
    run.fail("expected a key that does not change, found {}", key.type_name());
  }
  run.step(1 + std::ssize(entries) / 8);
  for (auto& entry : entries) {
    const bool same =
        entry.first.is_text() == key.is_text() &&
        (key.is_text() ? entry.first.as_text() == key.as_text() : equal(run, entry.first, key));
    if (same) {
      entry.second = std::move(value);
      return;
    }
  }
  run.take(2 * sizeof(Value));
  entries.emplace_back(std::move(key), std::move(value));
}

Value subscript(Run& run, const Value& value, const Value& key) {
  run.step();
  if (value.is_undefined()) fail_undefined(run, value);
  if (std::optional<Value> found = item_of(run, value, key)) return *std::move(found);
  if (!key.is_text()) {
    return Value::undefined(
        fmt::format("{} has no element {}", object_words(value), to_repr(run, key)));
  }
  if (std::optional<Value> found = attribute_of(run, value, key.as_text())) {
    return *std::move(found);
  }
  return Value::undefined(
      fmt::format("'{}' has no attribute '{}'", object_words(value), key.as_text()));
}

Value attribute(Run& run, const Value& value, std::string_view name) {
  run.step();
  if (value.is_undefined()) fail_undefined(run, value);
  if (std::optional<Value> found = attribute_of(run, value, name)) return *std::move(found);
  if (std::optional<Value> found = item_of(run, value, Value(std::string(name)))) {
    return *std::move(found);
  }
  return Value::undefined(fmt::format("'{}' has no attribute '{}'", object_words(value), name));
}

SliceRange slice_range(Run& run, int64_t n, const Value& begin, const Value& end,
                       const Value& step) {
  const auto number = [&](const Value& value, int64_t fallback) {
    if (value.is_none()) return fallback;
    if (value.is_undefined()) fail_undefined(run, value);
    if (!value.is_int() && !value.is_bool()) {
      run.fail("expected integers in a slice, found {}", value.type_name());
    }
    return value.as_int();
  };
  SliceRange range{0, 0, number(step, 1), 0};
  range.given_step = range.step;
  if (range.step == 0) run.fail("expected a step that is not zero, found 0");
  const bool down = range.step < 0;
  const int64_t low = down ? -1 : 0, high = down ? n - 1 : n;
  const auto place = [&](const Value& value, int64_t fallback) {
    if (value.is_none()) return fallback;
    int64_t at = number(value, 0);
    if (at < 0) at = at < -n ? low : at + n;
    return std::clamp(at, low, std::max(low, high));
  };
  range.begin = place(begin, down ? high : low);
  range.end = place(end, down ? low : high);
  // A larger step has the same effect.
  range.step = std::clamp(range.step, -n - 1, n + 1);
  return range;
}

Value slice(Run& run, const Value& value, const Value& begin, const Value& end, const Value& step) {
  if (value.is_undefined()) fail_undefined(run, value);
  const Sequence* s = value.sequence();
  const bool cuts = value.is_text() ||
                    (s != nullptr && (s->flavor == Flavor::kList || s->flavor == Flavor::kTuple ||
                                      s->flavor == Flavor::kRange));
  if (!cuts) run.fail("expected a list or string to slice, found {}", object_words(value));
  if (s != nullptr) {
    const SliceRange range = slice_range(run, std::ssize(s->items), begin, end, step);
    std::vector<Value> items;
    for (int64_t i = range.begin; range.step > 0 ? i < range.end : i > range.end; i += range.step) {
      items.push_back(s->items[static_cast<size_t>(i)]);
    }
    run.step(std::ssize(items));
    if (s->flavor == Flavor::kRange) {
      return run.range(std::move(items), sliced_bounds(run, s->bounds, range));
    }
    return run.list(std::move(items), s->flavor);
  }
  const std::string& text = value.as_text();
  run.scan(text.size());
  const int64_t n = count_characters(text);
  const SliceRange range = slice_range(run, n, begin, end, step);
  if (range.step == 1) {
    const size_t from = byte_of_character(text, range.begin);
    if (range.end <= range.begin) return run.text({});
    const std::string_view rest = std::string_view(text).substr(from);
    return run.text(std::string(rest.substr(0, byte_of_character(rest, range.end - range.begin))));
  }
  run.take(text.size() * sizeof(std::string_view));
  const std::vector<std::string_view> parts = characters(text);
  std::string made;
  for (int64_t i = range.begin; range.step > 0 ? i < range.end : i > range.end; i += range.step) {
    made += parts[static_cast<size_t>(i)];
  }
  return run.text(std::move(made));
}

}  // namespace twofold::jinja

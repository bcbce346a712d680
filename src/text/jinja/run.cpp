#include "text/jinja/run.h"

#include <algorithm>

#include "text/jinja/operators.h"

namespace twofold::jinja {

Value Value::undefined(std::string what) {
  return Undefined{std::make_shared<const std::string>(std::move(what))};
}

bool Value::is_generator() const {
  const Sequence* s = sequence();
  return s != nullptr && s->flavor == Flavor::kGenerator;
}
Sequence* Value::sequence() const {
  const auto* held = std::get_if<std::shared_ptr<Sequence>>(&storage_);
  return held == nullptr ? nullptr : held->get();
}
Dict* Value::dict() const {
  const auto* held = std::get_if<std::shared_ptr<Dict>>(&storage_);
  return held == nullptr ? nullptr : held->get();
}
Object* Value::object() const {
  const auto* held = std::get_if<std::shared_ptr<Object>>(&storage_);
  return held == nullptr ? nullptr : held->get();
}

int Value::depth() const {
  if (const Sequence* s = sequence()) return s->depth;
  if (const Dict* d = dict()) return d->depth;
  if (const Object* o = object()) return o->depth();
  return 0;
}

std::string Value::type_name() const {
  if (is_none()) return "None";
  if (is_undefined()) return "Undefined";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_text()) return "str";
  if (dict() != nullptr) return "dict";
  if (object() != nullptr) return "object";
  switch (sequence()->flavor) {
    case Flavor::kList:
      return "list";
    case Flavor::kTuple:
      return "tuple";
    case Flavor::kKeys:
      return "dict_keys";
    case Flavor::kValues:
      return "dict_values";
    case Flavor::kItems:
      return "dict_items";
    case Flavor::kRange:
      return "range";
    case Flavor::kGenerator:
      return "generator";
  }
  return "object";
}

std::string Object::repr(Run& run) { run.fail("expected a value to print, found a function"); }
std::optional<Value> Object::attribute(Run&, std::string_view) { return std::nullopt; }
std::optional<Value> Object::item(Run&, const Value&) { return std::nullopt; }
Value Object::call(Run& run, Arguments&) { run.fail("expected a function, found an object"); }

Run::~Run() {
  for (const auto& forget : at_end_) forget();
}

void Run::step(int64_t count) {
  steps_ += std::min(count, limits_.steps);
  if (steps_ > limits_.steps) {
    fail("expected at most {} steps of evaluation, found more", limits_.steps);
  }
}

void Run::take(size_t bytes) {
  const auto limit = static_cast<size_t>(limits_.bytes);
  if (bytes > limit - static_cast<size_t>(bytes_)) {
    fail("expected at most {} bytes for all values, found more", limits_.bytes);
  }
  bytes_ += static_cast<int64_t>(bytes);
}

void Run::check_output(size_t bytes) {
  if (bytes > static_cast<size_t>(limits_.output)) {
    fail("expected at most {} bytes of text, found more", limits_.output);
  }
}

void Run::check_depth(int depth) {
  if (depth > limits_.depth) fail("expected nesting up to {}, found deeper", limits_.depth);
}

Value Run::text(std::string value) {
  take(value.size() + 64);
  return Value(std::move(value));
}

Value Run::list(std::vector<Value> items, Flavor flavor) {
  take(items.size() * sizeof(Value) + 96);
  auto made = std::make_shared<Sequence>();
  made->flavor = flavor;
  for (const Value& item : items) made->depth = std::max(made->depth, item.depth() + 1);
  check_depth(made->depth);
  made->items = std::move(items);
  return made;
}

Value Run::range(std::vector<Value> items, const std::array<int64_t, 3>& bounds) {
  take(items.size() * sizeof(Value) + 96);
  auto made = std::make_shared<Sequence>();
  made->flavor = Flavor::kRange;
  made->items = std::move(items);
  made->bounds = bounds;
  return made;
}

Value Run::pair(Value first, Value second) {
  std::vector<Value> items;
  items.push_back(std::move(first));
  items.push_back(std::move(second));
  return list(std::move(items), Flavor::kTuple);
}

Value Run::dict(std::vector<std::pair<Value, Value>> entries) {
  take(entries.size() * 2 * sizeof(Value) + 96);
  auto made = std::make_shared<Dict>();
  for (const auto& [key, value] : entries) {
    made->depth = std::max({made->depth, key.depth() + 1, value.depth() + 1});
  }
  check_depth(made->depth);
  made->entries = std::move(entries);
  return made;
}

Value Run::object(std::shared_ptr<Object> object) {
  take(256);
  check_depth(object->depth());
  return object;
}

void Run::fail(std::string_view what) const {
  twofold::fail(ErrorCode::kUnsupported, fmt::format("{}: line {}", name_, line_), what);
}

void Run::refuse(std::string_view what) const {
  twofold::fail(ErrorCode::kInvalidArgument, fmt::format("{}: line {}", name_, line_),
                "the template refuses the conversation: {}", what);
}

Bound::Bound(Run& run, std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> parameters, size_t required)
    : run_(run), function_(function), names_(parameters), values_(parameters.size(), nullptr) {
  if (arguments.positional.size() > names_.size()) {
    run.fail("{}: expected at most {} arguments, found {}", function, names_.size(),
             arguments.positional.size());
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::ranges::find(names_, name);
    if (found == names_.end()) run.fail("{}: no argument is named '{}'", function, name);
    const Value*& place = values_[static_cast<size_t>(found - names_.begin())];
    if (place != nullptr) run.fail("{}: argument '{}' is given twice", function, name);
    place = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!has(i)) run.fail("{}: argument '{}' is missing", function, names_[i]);
  }
}

bool Bound::flag(size_t i, bool fallback) const {
  return has(i) ? truth(run_, *values_[i]) : fallback;
}

int64_t Bound::integer(size_t i, int64_t fallback) const {
  if (!has(i)) return fallback;
  const Value& value = *values_[i];
  if (!value.is_int() && !value.is_bool()) {
    run_.fail("{}: expected an integer for '{}', found {}", function_, names_[i],
              value.type_name());
  }
  return value.as_int();
}

const std::string& Bound::text(size_t i) const {
  if (!has(i)) run_.fail("{}: argument '{}' is missing", function_, names_[i]);
  if (!values_[i]->is_text()) {
    run_.fail("{}: expected a string for '{}', found {}", function_, names_[i],
              values_[i]->type_name());
  }
  return values_[i]->as_text();
}

}  // namespace twofold::jinja

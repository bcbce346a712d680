#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/jinja/characters.h"

namespace twofold::jinja {
namespace {

constexpr std::string_view kSigns[] = {"+", "-", "*", "/", "//", "%", "**"};

[[noreturn]] void fail_operands(Run& run, std::string_view sign, const Value& a, const Value& b) {
  for (const Value* v : {&a, &b}) {
    if (v->is_undefined()) fail_undefined(run, *v);
  }
  run.fail("expected operands that {} takes, found {} and {}", sign, a.type_name(), b.type_name());
}

[[noreturn]] void fail_overflow(Run& run) {
  run.fail("expected a result that 64 bits hold, found an overflow");
}

int64_t floor_div(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

double float_mod(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0) {
    if ((b < 0) != (rest < 0)) rest += b;
  } else {
    rest = std::copysign(0.0, b);
  }
  return rest;
}

double float_floor_div(double a, double b) {
  double quotient = (a - float_mod(a, b)) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

Value int_power(Run& run, int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) run.fail("expected a divisor that is not zero, found 0 ** {}", exponent);
    return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  }
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) fail_overflow(run);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) fail_overflow(run);
  }
  return result;
}

Value int_arithmetic(Run& run, Sign sign, int64_t a, int64_t b) {
  int64_t result = 0;
  const bool divides = sign == Sign::kDiv || sign == Sign::kFloorDiv || sign == Sign::kMod;
  if (divides && b == 0) run.fail("expected a divisor that is not zero, found 0");
  if (divides && b == -1 && a == std::numeric_limits<int64_t>::min()) fail_overflow(run);
  switch (sign) {
    case Sign::kAdd:
      if (__builtin_add_overflow(a, b, &result)) fail_overflow(run);
      return result;
    case Sign::kSub:
      if (__builtin_sub_overflow(a, b, &result)) fail_overflow(run);
      return result;
    case Sign::kMul:
      if (__builtin_mul_overflow(a, b, &result)) fail_overflow(run);
      return result;
    case Sign::kDiv:
      return static_cast<double>(a) / static_cast<double>(b);
    case Sign::kFloorDiv:
      return floor_div(a, b);
    case Sign::kMod:
      return a - floor_div(a, b) * b;
    case Sign::kPow:
      return int_power(run, a, b);
  }
  fail_overflow(run);
}

Value float_arithmetic(Run& run, Sign sign, double a, double b) {
  const bool divides = sign == Sign::kDiv || sign == Sign::kFloorDiv || sign == Sign::kMod;
  if (divides && b == 0) run.fail("expected a divisor that is not zero, found 0.0");
  switch (sign) {
    case Sign::kAdd:
      return a + b;
    case Sign::kSub:
      return a - b;
    case Sign::kMul:
      return a * b;
    case Sign::kDiv:
      return a / b;
    case Sign::kFloorDiv:
      return float_floor_div(a, b);
    case Sign::kMod:
      return float_mod(a, b);
    case Sign::kPow:
      break;
  }
  if (a == 0 && b < 0) run.fail("expected a divisor that is not zero, found 0.0 ** {}", b);
  const double result = std::pow(a, b);
  const bool finite = std::isfinite(a) && std::isfinite(b);
  if (finite && std::isnan(result)) run.fail("expected a real result, found a complex one");
  if (finite && std::isinf(result)) run.fail("expected a finite result, found an overflow");
  return result;
}

Value repeated(Run& run, const Value& value, int64_t count) {
  count = std::max<int64_t>(count, 0);
  const auto times = static_cast<size_t>(count);
  const size_t one = value.is_text() ? value.as_text().size() : value.sequence()->items.size();
  constexpr size_t kMost = size_t{1} << 40;
  run.take(one == 0 ? 0 : times > kMost / one ? kMost : one * times);
  if (value.is_text()) {
    std::string made;
    made.reserve(one * times);
    for (size_t i = 0; one > 0 && i < times; ++i) made += value.as_text();
    return run.text(std::move(made));
  }
  run.take(one == 0 ? 0 : one * times * sizeof(Value));
  std::vector<Value> items;
  for (size_t i = 0; one > 0 && i < times; ++i) {
    items.insert(items.end(), value.sequence()->items.begin(), value.sequence()->items.end());
  }
  return run.list(std::move(items), value.sequence()->flavor);
}

bool is_list_or_tuple(const Value& value) {
  const Sequence* s = value.sequence();
  return s != nullptr && (s->flavor == Flavor::kList || s->flavor == Flavor::kTuple);
}
bool is_view(const Value& value) {
  const Sequence* s = value.sequence();
  return s != nullptr && !is_list_or_tuple(value);
}

bool equal_items(Run& run, const std::vector<Value>& a, const std::vector<Value>& b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(),
                    [&](const Value& x, const Value& y) { return equal(run, x, y); });
}

std::optional<int> order_numbers(const Value& a, const Value& b) {
  if (!a.is_float() && !b.is_float()) {
    return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int() ? 1 : 0;
  }
  const double x = a.as_float(), y = b.as_float();
  if (std::isnan(x) || std::isnan(y)) return std::nullopt;
  return x < y ? -1 : x > y ? 1 : 0;
}

}  // namespace

void fail_undefined(Run& run, const Value& value) { run.fail(value.undefined_what()); }

bool truth(Run& run, const Value& value) {
  run.step();
  if (value.is_none() || value.is_undefined()) return false;
  if (value.is_float()) return value.as_float() != 0;
  if (value.is_number()) return value.as_int() != 0;
  if (value.is_text()) return !value.as_text().empty();
  if (const Dict* d = value.dict()) return !d->entries.empty();
  if (const Sequence* s = value.sequence()) {
    return s->flavor == Flavor::kGenerator || !s->items.empty();
  }
  return true;
}

bool equal(Run& run, const Value& a, const Value& b) {
  run.step();
  if (a.is_number() && b.is_number()) return order_numbers(a, b) == 0;
  if (a.is_text() && b.is_text()) {
    run.scan(a.as_text().size());
    return a.as_text() == b.as_text();
  }
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  const Run::Deeper deeper(run);
  if (const Dict* x = a.dict(), *y = b.dict(); x != nullptr && y != nullptr) {
    if (x->entries.size() != y->entries.size()) return false;
    return std::ranges::all_of(x->entries, [&](const auto& entry) {
      const Value* other = find_key(run, *y, entry.first);
      return other != nullptr && equal(run, entry.second, *other);
    });
  }
  if (const Sequence* x = a.sequence(), *y = b.sequence(); x != nullptr && y != nullptr) {
    if (x == y) return true;
    if (x->flavor != y->flavor || x->flavor == Flavor::kGenerator) return false;
    return equal_items(run, x->items, y->items);
  }
  return a.object() != nullptr && a.object() == b.object();
}

std::optional<int> order(Run& run, const Value& a, const Value& b, std::string_view sign) {
  run.step();
  if (a.is_number() && b.is_number()) return order_numbers(a, b);
  if (a.is_text() && b.is_text()) {
    run.scan(std::min(a.as_text().size(), b.as_text().size()));
    const int sign_of = a.as_text().compare(b.as_text());
    return sign_of < 0 ? -1 : sign_of > 0 ? 1 : 0;
  }
  if (!is_list_or_tuple(a) || !is_list_or_tuple(b) ||
      a.sequence()->flavor != b.sequence()->flavor) {
    fail_operands(run, sign, a, b);
  }
  const Run::Deeper deeper(run);
  const std::vector<Value>&x = a.sequence()->items, &y = b.sequence()->items;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (!equal(run, x[i], y[i])) return order(run, x[i], y[i], sign);
  }
  return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
}

Value arithmetic(Run& run, Sign sign, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (!a.is_float() && !b.is_float()) return int_arithmetic(run, sign, a.as_int(), b.as_int());
    return float_arithmetic(run, sign, a.as_float(), b.as_float());
  }
  if (sign == Sign::kAdd && a.is_text() && b.is_text()) {
    run.take(a.as_text().size() + b.as_text().size());
    return run.text(a.as_text() + b.as_text());
  }
  if (sign == Sign::kAdd && is_list_or_tuple(a) && is_list_or_tuple(b) &&
      a.sequence()->flavor == b.sequence()->flavor) {
    run.step(std::ssize(a.sequence()->items) + std::ssize(b.sequence()->items));
    std::vector<Value> items = a.sequence()->items;
    items.insert(items.end(), b.sequence()->items.begin(), b.sequence()->items.end());
    return run.list(std::move(items), a.sequence()->flavor);
  }
  if (sign == Sign::kMul) {
    const auto repeats = [](const Value& v) { return v.is_text() || is_list_or_tuple(v); };
    if (repeats(a) && b.is_number() && !b.is_float()) return repeated(run, a, b.as_int());
    if (repeats(b) && a.is_number() && !a.is_float()) return repeated(run, b, a.as_int());
  }
  if (sign == Sign::kMod && a.is_text()) return run.text(printf_text(run, a.as_text(), b));
  fail_operands(run, kSigns[static_cast<size_t>(sign)], a, b);
}

Value negated(Run& run, const Value& value) {
  if (value.is_undefined()) fail_undefined(run, value);
  if (!value.is_number()) run.fail("expected a number after -, found {}", value.type_name());
  if (value.is_float()) return -value.as_float();
  return int_arithmetic(run, Sign::kSub, 0, value.as_int());
}

Value posited(Run& run, const Value& value) {
  if (value.is_undefined()) fail_undefined(run, value);
  if (!value.is_number()) run.fail("expected a number after +, found {}", value.type_name());
  if (value.is_float()) return value;
  return value.as_int();
}

bool contains(Run& run, const Value& container, const Value& value) {
  if (container.is_text()) {
    if (value.is_undefined()) fail_undefined(run, value);
    if (!value.is_text()) {
      run.fail("expected a string before 'in', found {}", value.type_name());
    }
    const std::string &text = container.as_text(), &part = value.as_text();
    run.step(static_cast<int64_t>((text.size() / 64 + 1) * (part.size() / 64 + 1)));
    return text.find(part) != std::string::npos;
  }
  if (const Dict* d = container.dict()) return find_key(run, *d, value) != nullptr;
  if (container.is_undefined()) return false;
  if (container.sequence() == nullptr) {
    run.fail("expected something to look in after 'in', found {}", container.type_name());
  }
  Sequence& sequence = *container.sequence();
  size_t& at = sequence.taken;  // a generator is read up to what was found
  if (sequence.flavor == Flavor::kGenerator) {
    while (at < sequence.items.size()) {
      if (equal(run, sequence.items[at++], value)) return true;
    }
    return false;
  }
  return std::ranges::any_of(sequence.items,
                             [&](const Value& item) { return equal(run, item, value); });
}

bool is_iterable(const Value& value) {
  return value.is_text() || value.is_undefined() || value.sequence() != nullptr ||
         value.dict() != nullptr;
}

std::vector<Value> iterate(Run& run, const Value& value) {
  if (!is_iterable(value)) {
    run.fail("expected something to go through, found {}", value.type_name());
  }
  std::vector<Value> items;
  if (value.is_text()) {
    for (const std::string_view c : characters(value.as_text())) {
      items.push_back(run.text(std::string(c)));
    }
  } else if (const Dict* d = value.dict()) {
    for (const auto& [key, entry] : d->entries) items.push_back(key);
  } else if (Sequence* s = value.sequence()) {
    if (s->flavor == Flavor::kGenerator) {
      items.assign(s->items.begin() + static_cast<std::ptrdiff_t>(s->taken), s->items.end());
      s->taken = s->items.size();
    } else {
      items = s->items;
    }
  }
  run.step(std::ssize(items));
  run.take(items.size() * sizeof(Value));
  return items;
}

int64_t length(Run& run, const Value& value) {
  run.step();
  if (value.is_undefined()) return 0;
  if (value.is_text()) {
    run.scan(value.as_text().size());
    return count_characters(value.as_text());
  }
  if (const Dict* d = value.dict()) return std::ssize(d->entries);
  if (is_list_or_tuple(value) || (is_view(value) && !value.is_generator())) {
    return std::ssize(value.sequence()->items);
  }
  run.fail("expected something that has a length, found {}", value.type_name());
}

}  // namespace twofold::jinja

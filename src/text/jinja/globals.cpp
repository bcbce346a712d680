#include "text/jinja/globals.h"

#include <algorithm>
#include <array>

#include "text/jinja/operators.h"

namespace twofold::jinja {
namespace {

using Function = Value (*)(Run& run, const Arguments& arguments);

class GlobalFunction : public Object {
 public:
  explicit GlobalFunction(Function function) : function_(function) {}
  Value call(Run& run, Arguments& arguments) override { return function_(run, arguments); }

 private:
  Function function_;
};

constexpr int64_t kMaxRange = 100'000;  // as Jinja's sandbox has it

Value range(Run& run, const Arguments& arguments) {
  const size_t count = arguments.positional.size();
  if (count < 1 || count > 3) run.fail("range: expected 1 to 3 arguments, found {}", count);
  const Bound a(run, "range", arguments, {"start", "stop", "step"}, 1);
  const int64_t begin = count == 1 ? 0 : a.integer(0, 0);
  const int64_t end = count == 1 ? a.integer(0, 0) : a.integer(1, 0);
  const int64_t step = a.integer(2, 1);
  if (step == 0) run.fail("range: expected a step that is not zero, found 0");
  std::vector<Value> items;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (std::ssize(items) == kMaxRange) {
      run.fail("range: expected at most {} numbers, found more", kMaxRange);
    }
    items.push_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  run.step(std::ssize(items));
  return run.range(std::move(items), {begin, end, step});
}

/// Entries of dict(...): of another dict or of pairs, then those given by name.
std::vector<std::pair<Value, Value>> entries_of(Run& run, std::string_view function,
                                                const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1) {
    run.fail("{}: expected at most one argument without a name, found {}", function,
             arguments.positional.size());
  }
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (const Dict* d = from.dict()) {
      run.step(std::ssize(d->entries));
      entries = d->entries;
    } else {
      for (const Value& item : iterate(run, from)) {
        const std::vector<Value> pair = iterate(run, item);
        if (pair.size() != 2) run.fail("{}: expected pairs, found {} items", function, pair.size());
        put(run, entries, pair[0], pair[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.named) put(run, entries, Value(name), value);
  return entries;
}

Value dict(Run& run, const Arguments& arguments) {
  return run.dict(entries_of(run, "dict", arguments));
}

Value make_namespace(Run& run, const Arguments& arguments) {
  auto made = std::make_shared<Namespace>(std::vector<std::pair<Value, Value>>());
  for (const auto& [key, value] : entries_of(run, "namespace", arguments)) {
    if (!key.is_text()) run.fail("namespace: expected names, found {}", key.type_name());
    made->set(run, key.as_text(), value);
  }
  run.at_end([held = made] { held->clear(); });
  return run.object(std::move(made));
}

/// Gives its values one after the other, again and again.
class Cycler : public Object {
 public:
  explicit Cycler(Value values) : values_(std::move(values)) {}
  bool callable() const override { return false; }
  int depth() const override { return values_.depth() + 1; }
  std::optional<Value> attribute(Run& run, std::string_view name) override;

  Value current() const { return values_.sequence()->items[at_]; }
  Value next() {
    Value value = current();
    at_ = (at_ + 1) % values_.sequence()->items.size();
    return value;
  }
  void reset() { at_ = 0; }

 private:
  Value values_;
  size_t at_ = 0;
};

/// A method of a cycler, which lives as long as the run.
class CyclerMethod : public Object {
 public:
  CyclerMethod(Cycler& cycler, bool resets) : cycler_(cycler), resets_(resets) {}
  Value call(Run&, Arguments&) override {
    if (!resets_) return cycler_.next();
    cycler_.reset();
    return {};
  }

 private:
  Cycler& cycler_;
  bool resets_;
};

std::optional<Value> Cycler::attribute(Run& run, std::string_view name) {
  if (name == "current") return current();
  if (name != "next" && name != "reset") return std::nullopt;
  return run.object(std::make_shared<CyclerMethod>(*this, name == "reset"));
}

Value make_cycler(Run& run, const Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.named.empty()) {
    run.fail("cycler: expected values to cycle through, found none");
  }
  auto made = std::make_shared<Cycler>(run.list(arguments.positional, Flavor::kTuple));
  run.at_end([held = made] {});  // its methods refer to it
  return run.object(std::move(made));
}

/// Gives nothing the first time, then its separator.
class Joiner : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  Value call(Run& run, Arguments& arguments) override {
    const Bound a(run, "joiner", arguments, {});
    return std::exchange(used_, true) ? separator_ : run.text({});
  }
  int depth() const override { return separator_.depth() + 1; }

 private:
  Value separator_;
  bool used_ = false;
};

Value make_joiner(Run& run, const Arguments& arguments) {
  const Bound a(run, "joiner", arguments, {"sep"});
  return run.object(std::make_shared<Joiner>(a.has(0) ? a[0] : run.text(", ")));
}

Value raise_exception(Run& run, const Arguments& arguments) {
  const Bound a(run, "raise_exception", arguments, {"message"}, 1);
  run.refuse(to_text(run, a[0]));
}

Value strftime_now(Run& run, const Arguments& arguments) {
  const Bound a(run, "strftime_now", arguments, {"format"}, 1);
  if (!run.clock()) run.fail("strftime_now: expected a clock, found none");
  return run.text(time_text(run, a.text(0), run.clock()()));
}

struct GlobalRow {
  std::string_view name;
  Function function;
};
constexpr GlobalRow kGlobals[] = {
    {"range", range},
    {"dict", dict},
    {"namespace", make_namespace},
    {"cycler", make_cycler},
    {"joiner", make_joiner},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
};

constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                   "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> kMonths = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};

bool is_leap(int year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

/// Day of the year, from 1.
int day_of_year(const LocalTime& t) {
  constexpr std::array kDaysOfMonth = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int day = t.day;
  for (int m = 1; m < t.month; ++m) {
    day += kDaysOfMonth[static_cast<size_t>(m - 1)] + (m == 2 && is_leap(t.year) ? 1 : 0);
  }
  return day;
}

/// 0 is Sunday. Gregorian, for years from 1 on.
size_t day_of_week(const LocalTime& t) {
  const int before = t.year - 1;
  return static_cast<size_t>(
      (before * 365LL + before / 4 - before / 100 + before / 400 + day_of_year(t)) % 7);
}

std::string time_field(Run& run, char letter, const LocalTime& t, bool bare) {
  const auto two = [&](int value) {
    return bare ? fmt::format("{}", value) : fmt::format("{:02}", value);
  };
  const std::string_view day = kDays[day_of_week(t)];
  const std::string_view month = kMonths[static_cast<size_t>(t.month - 1)];
  const int hour = (t.hour + 11) % 12 + 1;
  switch (letter) {
    case 'Y':
      return fmt::format("{}", t.year);
    case 'y':
      return two(t.year % 100);
    case 'm':
      return two(t.month);
    case 'd':
      return two(t.day);
    case 'e':
      return bare ? two(t.day) : fmt::format("{:2}", t.day);
    case 'H':
      return two(t.hour);
    case 'I':
      return two(hour);
    case 'M':
      return two(t.minute);
    case 'S':
      return two(t.second);
    case 'j':
      return bare ? fmt::format("{}", day_of_year(t)) : fmt::format("{:03}", day_of_year(t));
    case 'p':
      return t.hour < 12 ? "AM" : "PM";
    case 'A':
      return std::string(day);
    case 'a':
      return std::string(day.substr(0, 3));
    case 'B':
      return std::string(month);
    case 'b':
    case 'h':
      return std::string(month.substr(0, 3));
    case 'w':
      return fmt::format("{}", day_of_week(t));
    case 'u':
      return fmt::format("{}", (day_of_week(t) + 6) % 7 + 1);
    case 'F':
      return fmt::format("{}-{:02}-{:02}", t.year, t.month, t.day);
    case 'T':
      return fmt::format("{:02}:{:02}:{:02}", t.hour, t.minute, t.second);
    case 'R':
      return fmt::format("{:02}:{:02}", t.hour, t.minute);
    case 'D':
      return fmt::format("{:02}/{:02}/{:02}", t.month, t.day, t.year % 100);
    case 'n':
      return "\n";
    case 't':
      return "\t";
    case '%':
      return "%";
    default:
      run.fail("strftime_now: expected one of % followed by YymdeHIMSjpAaBbhwuFTRDnt%, found %{}",
               letter);
  }
}

}  // namespace

std::optional<Value> find_global(Run& run, std::string_view name) {
  const auto found = std::ranges::find(kGlobals, name, &GlobalRow::name);
  if (found == std::end(kGlobals)) return std::nullopt;
  return run.object(std::make_shared<GlobalFunction>(found->function));
}

std::string Namespace::repr(Run& run) {
  std::string out = "<Namespace {";
  for (const auto& [key, value] : entries_.entries) {
    if (out.back() != '{') out += ", ";
    const Run::Deeper deeper(run);
    const std::string entry = to_repr(run, key) + ": " + to_repr(run, value);
    run.check_output(out.size() + entry.size());
    out += entry;
  }
  return out + "}>";
}

std::optional<Value> Namespace::attribute(Run& run, std::string_view name) {
  return item(run, Value(std::string(name)));
}

std::optional<Value> Namespace::item(Run& run, const Value& key) {
  if (!key.is_text()) return std::nullopt;
  const Value* found = find_key(run, entries_, key);
  return found == nullptr ? std::nullopt : std::optional<Value>(*found);
}

void Namespace::set(Run& run, std::string_view name, Value value) {
  if (name.starts_with('_')) {
    run.fail("namespace: expected a name without '_' in front, found {}", quoted_text(name));
  }
  run.take(name.size());
  put(run, entries_.entries, Value(std::string(name)), std::move(value));
}

std::string time_text(Run& run, std::string_view pattern, const LocalTime& time) {
  if (time.year < 1 || time.month < 1 || time.month > 12) {
    run.fail("strftime_now: expected a date, found month {} of year {}", time.month, time.year);
  }
  run.scan(pattern.size());
  std::string made;
  for (size_t at = 0; at < pattern.size(); ++at) {
    if (pattern[at] != '%') {
      made += pattern[at];
      continue;
    }
    const bool bare = at + 2 < pattern.size() && pattern[at + 1] == '-';
    at += bare ? 2 : 1;
    if (at >= pattern.size()) run.fail("strftime_now: expected a letter after %");
    made += time_field(run, pattern[at], time, bare);
  }
  run.take(made.size() * 2);
  return made;
}

}  // namespace twofold::jinja

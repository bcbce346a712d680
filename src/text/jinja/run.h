// Run: one rendering. Counts what it does against its limits, knows the line for messages, and
// makes the values that take memory. Nothing of the machine can be reached through it but the
// clock.
#pragma once

#include <fmt/format.h>

#include <array>
#include <functional>
#include <initializer_list>

#include "base/error.h"
#include "text/jinja/value.h"

namespace twofold::jinja {

/// Local time as the caller has it.
struct LocalTime {
  int year = 1970, month = 1, day = 1;  // month and day from 1
  int hour = 0, minute = 0, second = 0;
};

/// The most that one rendering may take.
struct Limits {
  int64_t steps = 10'000'000;         // nodes evaluated, items and every 64 bytes looked at
  int64_t bytes = int64_t{1} << 28;   // of all values made, also of those that are gone
  int64_t output = int64_t{1} << 26;  // bytes of the text
  int depth = 800;                    // of nested evaluations, values and calls
};

class Run {
 public:
  Run(std::string name, Limits limits, std::function<LocalTime()> clock)
      : name_(std::move(name)), limits_(limits), clock_(std::move(clock)) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run();

  /// Counts steps. @throws Error(kUnsupported) beyond the limit.
  void step(int64_t count = 1);
  /// Counts looking through bytes.
  void scan(size_t bytes) { step(1 + static_cast<int64_t>(bytes / 64)); }
  /// Counts memory, before it is taken.
  void take(size_t bytes);
  void check_output(size_t bytes);
  void check_depth(int depth);

  Value text(std::string value);
  Value list(std::vector<Value> items, Flavor flavor = Flavor::kList);
  Value range(std::vector<Value> items, const std::array<int64_t, 3>& bounds);
  Value pair(Value first, Value second);
  Value dict(std::vector<std::pair<Value, Value>> entries);
  Value object(std::shared_ptr<Object> object);
  /// Forgets what the object holds at the end of the run: objects may hold each other in a ring.
  void at_end(std::function<void()> forget) { at_end_.push_back(std::move(forget)); }

  void set_line(int line) { line_ = line; }
  int line() const { return line_; }
  const std::function<LocalTime()>& clock() const { return clock_; }

  /// @throws Error(kUnsupported) with the template, the line and the message.
  [[noreturn]] void fail(std::string_view what) const;
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const
      requires(sizeof...(Args) > 0) {
    fail(std::string_view(fmt::format(format, std::forward<Args>(args)...)));
  }
  /// What the template itself refuses by raise_exception. @throws Error(kInvalidArgument)
  [[noreturn]] void refuse(std::string_view what) const;

  /// Counts nesting while it lives.
  class Deeper {
   public:
    explicit Deeper(Run& run) : run_(run) { run.check_depth(++run.depth_); }
    ~Deeper() { --run_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    Run& run_;
  };

 private:
  std::string name_;
  Limits limits_;
  std::function<LocalTime()> clock_;
  int64_t steps_ = 0, bytes_ = 0;
  int depth_ = 0, line_ = 1;
  std::vector<std::function<void()>> at_end_;
};

/// Arguments by the names of their parameters.
class Bound {
 public:
  /// @throws Error naming the function: too many, an unknown name, given twice, or one of the first
  /// `required` missing.
  Bound(Run& run, std::string_view function, const Arguments& arguments,
        std::initializer_list<std::string_view> parameters, size_t required = 0);
  bool has(size_t i) const { return values_[i] != nullptr; }
  const Value& operator[](size_t i) const { return *values_[i]; }
  /// The truth of an argument.
  bool flag(size_t i, bool fallback = false) const;
  /// An integer, or an error.
  int64_t integer(size_t i, int64_t fallback) const;
  /// A text, or an error.
  const std::string& text(size_t i) const;
  std::string text(size_t i, std::string_view fallback) const {
    return has(i) ? text(i) : std::string(fallback);
  }
  /// Absent and None are the same for many parameters.
  bool given(size_t i) const { return has(i) && !values_[i]->is_none(); }

 private:
  Run& run_;
  std::string function_;
  std::vector<std::string_view> names_;
  std::vector<const Value*> values_;
};

}  // namespace twofold::jinja

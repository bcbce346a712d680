// Values of the template language: what Jinja2 has as Python objects, without anything that reaches
// outside. Immutable but for generators, which are read once, and namespaces.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace twofold::jinja {

class Run;
class Value;
struct Arguments;

/// What a name or attribute that does not exist gives: prints nothing, is false and empty, and is
/// an error for everything else.
struct Undefined {
  std::shared_ptr<const std::string> what;  // "'x' is undefined"
};
struct None {};

using Text = std::shared_ptr<const std::string>;  // valid UTF-8

enum class Flavor : uint8_t { kList, kTuple, kKeys, kValues, kItems, kRange, kGenerator };

struct Sequence {
  Flavor flavor = Flavor::kList;
  std::vector<Value> items;
  std::array<int64_t, 3> bounds = {0, 0, 1};  // kRange: start, stop and step, to be printed
  int depth = 1;                              // of nesting
  size_t taken = 0;                           // kGenerator: items given out
};

/// Entries in the order of insertion.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  int depth = 1;
};

/// Everything that is more than data: functions, macros, namespaces, `loop`.
class Object {
 public:
  virtual ~Object() = default;
  /// As Python prints it; fails by default: there it is an address.
  virtual std::string repr(Run& run);
  virtual std::optional<Value> attribute(Run& run, std::string_view name);
  virtual std::optional<Value> item(Run& run, const Value& key);
  virtual bool callable() const { return true; }
  virtual Value call(Run& run, Arguments& arguments);
  virtual int depth() const { return 1; }
};

class Value {
 public:
  using Storage =
      std::variant<None, Undefined, bool, int64_t, double, Text, std::shared_ptr<Sequence>,
                   std::shared_ptr<Dict>, std::shared_ptr<Object>>;

  Value() = default;  // None
  Value(bool value) : storage_(value) {}
  Value(int64_t value) : storage_(value) {}
  Value(double value) : storage_(value) {}
  Value(Undefined value) : storage_(std::move(value)) {}
  Value(std::shared_ptr<Sequence> value) : storage_(std::move(value)) {}
  Value(std::shared_ptr<Dict> value) : storage_(std::move(value)) {}
  Value(std::shared_ptr<Object> value) : storage_(std::move(value)) {}
  Value(std::string value) : storage_(std::make_shared<const std::string>(std::move(value))) {}
  Value(const char*) = delete;
  static Value undefined(std::string what);

  bool is_none() const { return std::holds_alternative<None>(storage_); }
  bool is_undefined() const { return std::holds_alternative<Undefined>(storage_); }
  bool is_bool() const { return std::holds_alternative<bool>(storage_); }
  bool is_int() const { return std::holds_alternative<int64_t>(storage_); }
  bool is_float() const { return std::holds_alternative<double>(storage_); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_text() const { return std::holds_alternative<Text>(storage_); }
  bool is_generator() const;

  bool as_bool() const { return std::get<bool>(storage_); }
  /// Of a bool or an int.
  int64_t as_int() const { return is_bool() ? int64_t{as_bool()} : std::get<int64_t>(storage_); }
  /// Of any number.
  double as_float() const {
    return is_float() ? std::get<double>(storage_) : static_cast<double>(as_int());
  }
  const std::string& as_text() const { return *std::get<Text>(storage_); }
  const std::string& undefined_what() const { return *std::get<Undefined>(storage_).what; }

  /// Null if it is of another kind.
  Sequence* sequence() const;
  Dict* dict() const;
  Object* object() const;
  const Storage& storage() const { return storage_; }

  /// Nesting: 0 for a scalar.
  int depth() const;
  /// The name of its type in Python.
  std::string type_name() const;

 private:
  Storage storage_;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

}  // namespace twofold::jinja

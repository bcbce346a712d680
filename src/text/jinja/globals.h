// Names that every template has: range, dict, namespace, cycler, joiner, raise_exception and
// strftime_now.
#pragma once

#include "text/jinja/run.h"

namespace twofold::jinja {

/// The global of that name, or none.
std::optional<Value> find_global(Run& run, std::string_view name);

/// An object whose attributes a template may set: `{% set ns.name = value %}`.
class Namespace : public Object {
 public:
  explicit Namespace(std::vector<std::pair<Value, Value>> entries) {
    entries_.entries = std::move(entries);
  }
  std::string repr(Run& run) override;
  std::optional<Value> attribute(Run& run, std::string_view name) override;
  std::optional<Value> item(Run& run, const Value& key) override;
  bool callable() const override { return false; }
  /// @throws Error for a name that begins with an underscore.
  void set(Run& run, std::string_view name, Value value);
  void clear() { entries_.entries.clear(); }

 private:
  Dict entries_;
};

/// Local time by a pattern of strftime, in English whatever the locale.
/// @throws Error on a letter that is not supported.
std::string time_text(Run& run, std::string_view pattern, const LocalTime& time);

}  // namespace twofold::jinja

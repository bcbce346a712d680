// Template: a Jinja template as models ship them, parsed once and rendered any number of times. It
// behaves as Jinja2 does in the sandbox of the transformers library: trim_blocks, lstrip_blocks,
// loop controls, `{% generation %}`, its tojson. Nothing outside the given variables can be
// reached, no value that they hold can be changed, and every rendering is bounded. Refuses what
// would load other templates. Thread-safe after construction.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "text/jinja/run.h"

namespace twofold::jinja {

struct Stmt;

struct RenderOptions {
  Limits limits = {};
  std::function<LocalTime()> clock = {};  // for strftime_now, which fails without one
};

class Template {
 public:
  /// @param name stands for the template in messages: a file, or a key of one.
  /// @throws Error(kCorruptFile) on bad syntax, Error(kUnsupported) on tags that are refused.
  Template(std::string_view source, std::string name);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  /// @param variables an object: what the template can see.
  /// @throws Error(kInvalidArgument) if the template itself raises an exception,
  /// Error(kUnsupported) on what is no Jinja2 or beyond the limits; one line with the template's
  /// line.
  std::string render(const OrderedJson& variables, const RenderOptions& options = {}) const;

 private:
  std::string name_;
  std::unique_ptr<const std::vector<Stmt>> body_;
};

}  // namespace twofold::jinja

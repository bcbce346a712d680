// NamePattern: a regular expression on tensor names, from a recipe that may come from anybody.
// Built on PCRE2 with bounds on pattern length, steps and memory, so that no pattern can hang or
// crash the program (std::regex recurses without bound).
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace twofold {

class NamePattern {
 public:
  /// Longest pattern in bytes.
  static constexpr size_t kMaxLength = 256;

  /// @throws Error(kInvalidArgument) naming the position and reason, or the length.
  explicit NamePattern(std::string_view pattern);
  ~NamePattern();
  NamePattern(NamePattern&&) noexcept;
  NamePattern& operator=(NamePattern&&) noexcept;

  /// True if the pattern is found anywhere in `name`; ^ and $ anchor it. Case matters.
  /// @throws Error(kInvalidArgument) if it takes too many steps.
  bool found_in(std::string_view name) const;

 private:
  struct Compiled;
  std::string pattern_;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace twofold

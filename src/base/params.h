// Params: named settings of grids, roundings and methods. Each part lists its settings as
// ParamSpec rows; the command line, recipes, reports, help and documentation are made from them.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace twofold {

enum class ParamKind {
  kInt,       // "5"
  kFloat,     // "0.03125"
  kChoice,    // one of `choices`
  kIntRange,  // "-16,15"; empty = not set
};

class Params;

/// What decides whether a setting is read: all settings, complete, and what parts say of each
/// other.
struct ParamUse {
  const Params& params;
  int64_t group = 0;
  std::string importance_unread = {};  // why no part reads the importance of columns; or empty
  std::string moment_unread = {};      // why no part reads the second moment; or empty
  std::string refit_unread = {};       // why the grid has no refit; or empty
  std::string loop_unread = {};        // why the rounding has no loop over columns; or empty
};

struct ParamSpec {
  std::string_view name;  // as a flag without dashes: "exponent-rounding"
  ParamKind kind;
  std::string_view fallback;  // the default, as text; empty = not set
  std::string_view help;
  std::vector<std::string_view> choices = {};  // kChoice
  double min = 0, max = 0;                     // kInt, kFloat: inclusive bounds; both 0 = none
  /// Why nothing reads the setting beside the others; empty if something does. Null: always read.
  std::string (*unread)(const ParamUse& use) = nullptr;
};

/// Validated settings: name -> text in a normal form.
class Params {
 public:
  Params() = default;
  /// @throws Error(kInvalidArgument) naming the setting, the value and what is allowed.
  void set(const ParamSpec& spec, std::string_view value);
  bool has(std::string_view name) const;
  int64_t get_int(std::string_view name) const;
  double get_float(std::string_view name) const;
  std::string get_choice(std::string_view name) const;
  /// @throws Error(kInternal) if not set; ask `has` first.
  std::pair<int64_t, int64_t> get_range(std::string_view name) const;
  const std::map<std::string, std::string, std::less<>>& values() const { return values_; }
  friend bool operator==(const Params&, const Params&) = default;

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

/// `given` (name -> text) checked against `specs`, completed with `overrides` (a method's own
/// defaults) and then the specs' fallbacks. @throws Error(kInvalidArgument) on an unknown name,
/// listing the known ones.
Params complete_params(std::span<const ParamSpec> specs,
                       const std::map<std::string, std::string>& overrides,
                       const std::map<std::string, std::string>& given);

/// Refuses settings that would change nothing. @param given as for `complete_params`.
/// @throws Error(kInvalidArgument) naming the setting and why it is not read.
void check_read(std::span<const ParamSpec> specs, const std::map<std::string, std::string>& given,
                const ParamUse& use);

}  // namespace twofold

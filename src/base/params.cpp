#include "base/params.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"

namespace twofold {
namespace {

std::string flag(std::string_view name) { return fmt::format("--{}", name); }

std::optional<int64_t> parse_int(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_float(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

std::optional<std::pair<int64_t, int64_t>> parse_range(std::string_view text) {
  const size_t comma = text.find(',');
  if (comma == std::string_view::npos) return std::nullopt;
  const auto lo = parse_int(text.substr(0, comma));
  const auto hi = parse_int(text.substr(comma + 1));
  if (!lo || !hi || *lo >= *hi) return std::nullopt;
  return std::pair(*lo, *hi);
}

void check_bounds(const ParamSpec& spec, double value, std::string_view text) {
  if (spec.min == 0 && spec.max == 0) return;
  if (value < spec.min || value > spec.max) {
    fail(ErrorCode::kInvalidArgument, flag(spec.name), "expected a number from {} to {}, found {}",
         spec.min, spec.max, text);
  }
}

std::string normal_form(const ParamSpec& spec, std::string_view text) {
  switch (spec.kind) {
    case ParamKind::kInt: {
      const auto value = parse_int(text);
      if (!value) break;
      check_bounds(spec, static_cast<double>(*value), text);
      return std::to_string(*value);
    }
    case ParamKind::kFloat: {
      const auto value = parse_float(text);
      if (!value) break;
      check_bounds(spec, *value, text);
      return fmt::format("{}", *value);
    }
    case ParamKind::kChoice: {
      if (std::find(spec.choices.begin(), spec.choices.end(), text) == spec.choices.end()) {
        fail(ErrorCode::kInvalidArgument, flag(spec.name), "expected one of {}; found '{}'",
             fmt::join(spec.choices, ", "), text);
      }
      return std::string(text);
    }
    case ParamKind::kIntRange: {
      const auto value = parse_range(text);
      if (!value) break;
      return fmt::format("{},{}", value->first, value->second);
    }
  }
  constexpr std::string_view kExpected[] = {"an integer", "a number", "a choice",
                                            "two integers LO,HI with LO below HI"};
  fail(ErrorCode::kInvalidArgument, flag(spec.name), "expected {}, found '{}'",
       kExpected[static_cast<int>(spec.kind)], text);
}

}  // namespace

void Params::set(const ParamSpec& spec, std::string_view value) {
  values_[std::string(spec.name)] = normal_form(spec, value);
}

bool Params::has(std::string_view name) const { return values_.find(name) != values_.end(); }

std::string Params::get_choice(std::string_view name) const {
  const auto it = values_.find(name);
  if (it == values_.end()) fail(ErrorCode::kInternal, flag(name), "asked for but not set");
  return it->second;
}

int64_t Params::get_int(std::string_view name) const {
  const auto value = parse_int(get_choice(name));
  if (!value) fail(ErrorCode::kInternal, flag(name), "is not an integer setting");
  return *value;
}

double Params::get_float(std::string_view name) const {
  const auto value = parse_float(get_choice(name));
  if (!value) fail(ErrorCode::kInternal, flag(name), "is not a number setting");
  return *value;
}

std::pair<int64_t, int64_t> Params::get_range(std::string_view name) const {
  const auto value = parse_range(get_choice(name));
  if (!value) fail(ErrorCode::kInternal, flag(name), "is not a range setting");
  return *value;
}

Params complete_params(std::span<const ParamSpec> specs,
                       const std::map<std::string, std::string>& overrides,
                       const std::map<std::string, std::string>& given) {
  for (const auto& [name, value] : given) {
    const bool known = std::any_of(specs.begin(), specs.end(),
                                   [&](const ParamSpec& spec) { return spec.name == name; });
    if (!known) {
      std::vector<std::string> names;
      for (const ParamSpec& spec : specs) names.push_back(flag(spec.name));
      fail(ErrorCode::kInvalidArgument, flag(name), "is no setting of this method, which has {}",
           names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
    }
  }
  Params params;
  for (const ParamSpec& spec : specs) {
    const std::string name(spec.name);
    std::string_view value = spec.fallback;
    if (const auto it = overrides.find(name); it != overrides.end()) value = it->second;
    if (const auto it = given.find(name); it != given.end()) value = it->second;
    if (!value.empty()) params.set(spec, value);
  }
  return params;
}

void check_read(std::span<const ParamSpec> specs, const std::map<std::string, std::string>& given,
                const ParamUse& use) {
  for (const ParamSpec& spec : specs) {
    const auto it = given.find(std::string(spec.name));
    if (it == given.end() || spec.unread == nullptr) continue;
    const std::string reason = spec.unread(use);
    if (reason.empty()) continue;
    fail(ErrorCode::kInvalidArgument, flag(spec.name), "'{}' has no effect: {}", it->second,
         reason);
  }
}

}  // namespace twofold

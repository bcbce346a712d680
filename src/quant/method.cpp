#include "quant/method.h"

#include <algorithm>
#include <array>
#include <ranges>

#include "base/error.h"
#include "base/registry.h"

namespace twofold {
namespace {

constexpr std::array<int64_t, 5> kGroups = {0, 32, 64, 128, 256};

std::string_view or_default(const std::string& given, std::string_view fallback) {
  return given.empty() ? fallback : std::string_view(given);
}

/// Settings of the parts, each name once.
void add_specs(std::vector<ParamSpec>& all, const std::vector<ParamSpec>& specs) {
  for (const ParamSpec& spec : specs) {
    const bool known = std::any_of(all.begin(), all.end(),
                                   [&](const ParamSpec& s) { return s.name == spec.name; });
    if (!known) all.push_back(spec);
  }
}

std::vector<ParamSpec> specs_of(const Transform& transform, const Grid& grid,
                                const Rounding& rounding) {
  std::vector<ParamSpec> specs = transform.params;
  add_specs(specs, grid.params);
  add_specs(specs, rounding.params);
  add_specs(specs, moment_params());
  return specs;
}

/// A method's own settings that the chosen parts have: another grid may not know them all.
std::map<std::string, std::string> known_defaults(const Method& method,
                                                  std::span<const ParamSpec> specs) {
  std::map<std::string, std::string> known;
  for (const ParamSpec& spec : specs) {
    const auto it = method.defaults.find(std::string(spec.name));
    if (it != method.defaults.end()) known.insert(*it);
  }
  return known;
}

/// Which settings are read with all of them decided.
ParamUse use_of(const MethodChoice& choice, const Transform& transform, const Grid& grid,
                const Rounding& rounding) {
  ParamUse use{.params = choice.params, .group = choice.group};
  if (grid.importance_unread != nullptr) {
    use.importance_unread = grid.importance_unread(choice.params);
  }
  use.refit_unread =
      grid.refit_unread != nullptr
          ? grid.refit_unread(choice.params)
          : fmt::format("grid {} keeps the parameters it was fitted with", grid.name);
  if (!rounding.needs_moment) {
    use.loop_unread = fmt::format("rounding {} has no loop over columns", rounding.name);
  }
  if (rounding.needs_moment || transform.needs_moment(choice.params)) return use;
  use.moment_unread = use.importance_unread;
  if (use.moment_unread.empty() && !rounding.weighs_by_moment(choice.params)) {
    use.moment_unread = "nothing is weighed by second moments";
  }
  return use;
}

void check_group(const Grid& grid, int64_t group) {
  if (std::find(kGroups.begin(), kGroups.end(), group) == kGroups.end()) {
    fail(ErrorCode::kInvalidArgument, "--group", "expected one of {} (0 = whole row), found {}",
         fmt::join(kGroups, ", "), group);
  }
  if (group > 0 && !grid.groups) {
    fail(ErrorCode::kInvalidArgument, "--group", "grid {} has no groups, found {}", grid.name,
         group);
  }
}

struct Parts {
  const Method& method;
  const Transform& transform;
  const Grid& grid;
  const Rounding& rounding;
};

Parts parts_of(const MethodRequest& request) {
  const Method& method = find_method(request.method);
  return {.method = method,
          .transform = find_transform(or_default(request.transform, method.transform)),
          .grid = find_grid(or_default(request.grid, method.grid)),
          .rounding = find_rounding(or_default(request.rounding, method.rounding))};
}

/// All settings decided; whether each is read is not looked at.
MethodChoice complete(const MethodRequest& request, const Parts& parts,
                      std::span<const ParamSpec> specs) {
  const auto& [method, transform, grid, rounding] = parts;
  MethodChoice choice{.method = std::string(method.name),
                      .transform = std::string(transform.name),
                      .grid = std::string(grid.name),
                      .rounding = std::string(rounding.name),
                      .group = request.group.value_or(method.default_group),
                      .params = {},
                      .note = {}};
  choice.params = complete_params(specs, known_defaults(method, specs), request.params);
  const int needed = grid.needed_bits(choice.params);
  choice.bits = request.bits.value_or(
      needed > 0 ? needed : std::clamp(method.default_bits, grid.min_bits, grid.max_bits));
  check_group(grid, choice.group);
  grid.check({.bits = choice.bits, .group = choice.group, .params = choice.params, .where = {}});
  rounding.check(choice.params, grid.width);
  return choice;
}

/// `given` without what the parts of `request` do not know or would not read.
std::map<std::string, std::string> read_by(MethodRequest request,
                                           std::map<std::string, std::string> given) {
  const Parts parts = parts_of(request);
  const auto specs = specs_of(parts.transform, parts.grid, parts.rounding);
  std::erase_if(given, [&](const auto& setting) {
    return std::ranges::find(specs, setting.first, &ParamSpec::name) == specs.end();
  });
  request.params = given;
  const MethodChoice choice = complete(request, parts, specs);
  const ParamUse use = use_of(choice, parts.transform, parts.grid, parts.rounding);
  for (const ParamSpec& spec : specs) {
    if (spec.unread != nullptr && !spec.unread(use).empty()) given.erase(std::string(spec.name));
  }
  return given;
}

}  // namespace

const Method& find_method(std::string_view name) {
  return find_entry(all_methods(), "--method", name);
}

MethodChoice choose_method(const MethodRequest& request) {
  const Parts parts = parts_of(request);
  const auto specs = specs_of(parts.transform, parts.grid, parts.rounding);
  MethodChoice choice = complete(request, parts, specs);
  check_read(specs, request.params, use_of(choice, parts.transform, parts.grid, parts.rounding));
  return choice;
}

void check_without_moment(const MethodRequest& request, std::string_view why) {
  const MethodChoice choice = choose_method(request);
  if (needs_moment(choice)) return;
  const std::string reason =
      fmt::format("method {} needs no second moments, and {}", choice.method, why);
  check_read(specs_of(find_transform(choice.transform), find_grid(choice.grid),
                      find_rounding(choice.rounding)),
             request.params,
             {.params = choice.params,
              .group = choice.group,
              .importance_unread = reason,
              .moment_unread = reason});
}

MethodChoice choose_method(const MethodRequest& request, int64_t rows, int64_t cols) {
  const MethodChoice choice = choose_method(request);
  const std::string_view narrow = find_method(choice.method).narrow;
  const int64_t width = find_grid(choice.grid).width;
  if (narrow.empty() || std::min(rows, cols) >= width) return choice;
  MethodRequest next{
      .method = std::string(narrow), .transform = choice.transform, .rounding = choice.rounding};
  const Grid& grid = find_grid(find_method(narrow).grid);
  next.bits = std::clamp(choice.bits, grid.min_bits, grid.max_bits);
  next.params = read_by(next, request.params);
  MethodChoice other = choose_method(next);
  other.note = fmt::format("{} with {} bits instead of {} with {}: a side of [{}, {}] is below {}",
                           narrow, other.bits, choice.method, choice.bits, rows, cols, width);
  return other;
}

bool needs_moment(const MethodChoice& choice) {
  return find_method(choice.method).needs_moment || find_rounding(choice.rounding).needs_moment ||
         find_transform(choice.transform).needs_moment(choice.params);
}

std::unique_ptr<FittedGrid> make_grid(const MethodChoice& choice, int64_t rows, int64_t cols,
                                      std::string_view where, Isa isa) {
  return find_grid(choice.grid)
      .make({.rows = rows,
             .cols = cols,
             .bits = choice.bits,
             .group = choice.group,
             .params = choice.params,
             .where = std::string(where),
             .isa = isa});
}

bool rows_are_independent(const MethodChoice& choice, int64_t cols) {
  if (needs_moment(choice) || !find_transform(choice.transform).identity) return false;
  return make_grid(choice, 2, cols)->rows_sharing() == 1;
}

Scheme scheme_for(const MethodChoice& choice, int64_t rows, int64_t cols) {
  find_transform(choice.transform).check_shape(choice.params, rows, cols);
  return make_grid(choice, rows, cols)->scheme();
}

std::vector<ParamSpec> all_param_specs() {
  std::vector<ParamSpec> all;
  for (const Transform& transform : all_transforms()) add_specs(all, transform.params);
  for (const Grid& grid : all_grids()) add_specs(all, grid.params);
  for (const Rounding& rounding : all_roundings()) add_specs(all, rounding.params);
  add_specs(all, moment_params());
  return all;
}

}  // namespace twofold

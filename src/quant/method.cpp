#include "quant/method.h"

#include <algorithm>
#include <array>

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

}  // namespace

std::span<const Method> all_methods() {
  static const std::array kMethods = {
      Method{.name = "rtn",
             .paper = "arXiv:2210.17323",
             .help = "round to nearest on equally spaced values (the baseline of every paper)",
             .transform = "none",
             .grid = "uniform",
             .rounding = "nearest",
             .default_bits = 4,
             .default_group = 0,
             .defaults = {}},
      Method{.name = "pot",
             .paper = "arXiv:2506.00315",
             .help = "signed powers of two",
             .transform = "none",
             .grid = "pot",
             .rounding = "nearest",
             .default_bits = 4,
             .default_group = 0,
             .defaults = {}},
      Method{.name = "apot",
             .paper = "arXiv:1909.13144",
             .help = "signed sums of two powers of two",
             .transform = "none",
             .grid = "apot",
             .rounding = "nearest",
             .default_bits = 4,
             .default_group = 0,
             .defaults = {{"scale-search", "mse"}}},
      Method{.name = "gptq",
             .paper = "arXiv:2210.17323",
             .help = "equally spaced values, each column corrected by the errors before it",
             .transform = "none",
             .grid = "uniform",
             .rounding = "ldlq",
             .default_bits = 4,
             .default_group = 0,
             .defaults = {{"explore", "loop"}}},
      Method{.name = "gptq-pot",
             .paper = "arXiv:2506.00315",
             .help = "signed powers of two inside the loop of GPTQ",
             .transform = "none",
             .grid = "pot",
             .rounding = "ldlq",
             .default_bits = 4,
             .default_group = 0,
             .defaults = {{"scale-search", "mse"}, {"explore", "loop"}}},
      Method{.name = "gptqt",
             .paper = "arXiv:2407.02891",
             .help = "integers of a finer grid as binary coding, inside the loop of GPTQ",
             .transform = "none",
             .grid = "two-step",
             .rounding = "ldlq",
             .default_bits = 3,
             .default_group = 0,
             .defaults = {{"explore", "loop"}}},
      Method{.name = "gptq-bcq",
             .paper = "arXiv:2407.02891",
             .help = "binary planes fitted to the weights, inside the loop of GPTQ",
             .transform = "none",
             .grid = "binary",
             .rounding = "ldlq",
             .default_bits = 3,
             .default_group = 0,
             .defaults = {{"importance", "equal"}, {"explore", "loop"}}},
      Method{.name = "bcq",
             .paper = "arXiv:1802.00150",
             .help = "binary planes with a factor each",
             .transform = "none",
             .grid = "binary",
             .rounding = "nearest",
             .default_bits = 3,
             .default_group = 0,
             .defaults = {{"importance", "equal"}}},
      Method{.name = "leanquant",
             .paper = "arXiv:2407.10032",
             .help = "a table of levels per row that spares weights of large loss, inside the loop",
             .transform = "none",
             .grid = "levels",
             .rounding = "ldlq",
             .default_bits = 4,
             .default_group = 0,
             .defaults = {{"importance", "inverse"}, {"explore", "loop"}}},
      Method{.name = "kmeans-h",
             .paper = "arXiv:2306.07629",
             .help = "a table of levels per row by exact k-means, weighted by the second moments",
             .transform = "none",
             .grid = "levels",
             .rounding = "nearest",
             .default_bits = 4,
             .default_group = 0,
             .defaults = {}},
      Method{.name = "hqq",
             .paper = "https://mobiusml.github.io/hqq_blog",
             .help = "equally spaced values with a zero fitted to a robust norm; needs no data",
             .transform = "none",
             .grid = "uniform",
             .rounding = "nearest",
             .default_bits = 4,
             .default_group = 64,
             .defaults = {{"zero", "float"}, {"fit", "half-quadratic"}}}};
  return kMethods;
}

const Method& find_method(std::string_view name) {
  return find_entry(all_methods(), "--method", name);
}

MethodChoice choose_method(const MethodRequest& request) {
  const Method& method = find_method(request.method);
  const Transform& transform = find_transform(or_default(request.transform, method.transform));
  const Grid& grid = find_grid(or_default(request.grid, method.grid));
  const Rounding& rounding = find_rounding(or_default(request.rounding, method.rounding));

  MethodChoice choice{.method = std::string(method.name),
                      .transform = std::string(transform.name),
                      .grid = std::string(grid.name),
                      .rounding = std::string(rounding.name),
                      .group = request.group.value_or(method.default_group),
                      .params = {}};
  const std::vector<ParamSpec> specs = specs_of(transform, grid, rounding);
  choice.params = complete_params(specs, known_defaults(method, specs), request.params);
  const int needed = grid.needed_bits(choice.params);
  choice.bits = request.bits.value_or(
      needed > 0 ? needed : std::clamp(method.default_bits, grid.min_bits, grid.max_bits));
  check_group(grid, choice.group);
  grid.check({.bits = choice.bits, .group = choice.group, .params = choice.params, .where = {}});
  return choice;
}

Scheme scheme_for(const MethodChoice& choice, int64_t rows, int64_t cols) {
  find_transform(choice.transform).check_shape(choice.params, rows, cols);
  return find_grid(choice.grid)
      .make({.rows = rows,
             .cols = cols,
             .bits = choice.bits,
             .group = choice.group,
             .params = choice.params,
             .where = {}})
      ->scheme();
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

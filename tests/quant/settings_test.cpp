// Every setting of every method changes something or is refused by name, alone and beside each
// choice of another setting.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "quant/method.h"
#include "support/matrices.h"

namespace twofold {
namespace {

// The rules for Kronecker factors differ for 12; there are two groups of 32.
constexpr int64_t kRows = 12, kCols = 64;

SecondMoment moment() {
  const int64_t tokens = 120;
  const std::vector<float> x = testing::normal_numbers(tokens * kCols, 1.0, "inputs");
  SecondMoment m{.cols = kCols, .tokens = tokens, .h = {}, .mean_magnitude = {}};
  m.h.assign(kCols * kCols, 0.0);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < kCols; ++i) {
      for (int64_t j = 0; j < kCols; ++j) {
        const auto at = [&](int64_t k) {  // some inputs are louder, neighbours alike
          const int64_t other = (k + 1) % kCols;
          return (x[static_cast<size_t>(t * kCols + k)] +
                  x[static_cast<size_t>(t * kCols + other)]) *
                 (k % 7 == 0 ? 4.0 : 1.0);
        };
        m.h[static_cast<size_t>(i * kCols + j)] += at(i) * at(j) / static_cast<double>(tokens);
      }
    }
  }
  return m;
}

enum class Moment { kKnown, kUnknown };

/// The result for a request on one of several matrices, or why it was refused.
struct Outcome {
  std::optional<QuantizedMatrix> q;
  std::string refusal;
};

Outcome outcome_of(const MethodRequest& request, Moment known, int draw = 0) {
  static const SecondMoment kMoment = moment();
  const std::vector<float> weight =
      testing::normal_numbers(kRows * kCols, 0.05, fmt::format("weights {}", draw));
  static ThreadPool pool(1, false);
  try {
    const MethodChoice choice = choose_method(request);
    if (known == Moment::kUnknown) check_without_moment(request, "none are known");
    return {.q = solve(choice,
                       {.weight = {weight.data(), kRows, kCols},
                        .moment = known == Moment::kKnown ? &kMoment : nullptr,
                        .seed = static_cast<uint64_t>(draw),
                        .input_name = "in",
                        .matrix_name = "w"},
                       {.pool = pool, .isa = select_isa()})
                     .q,
            .refusal = {}};
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.what();
    return {.q = {}, .refusal = error.what()};
  }
}

/// Values of a setting that are worth trying, far from its default.
std::vector<std::string> values_of(const ParamSpec& spec) {
  switch (spec.kind) {
    case ParamKind::kChoice:
      return {spec.choices.begin(), spec.choices.end()};
    case ParamKind::kInt:
      return {fmt::format("{}", spec.min), fmt::format("{}", spec.min + 1), "7"};
    case ParamKind::kFloat:
      return {fmt::format("{}", spec.min + 0.125), fmt::format("{}", std::min(spec.max, 10.0))};
    case ParamKind::kIntRange:
      return {"-3,3", "60,90"};
  }
  return {};
}

std::vector<ParamSpec> specs_of(const Method& method) {
  std::vector<ParamSpec> specs = find_transform(method.transform).params;
  for (const std::vector<ParamSpec>& more :
       {find_grid(method.grid).params, find_rounding(method.rounding).params, moment_params()}) {
    specs.insert(specs.end(), more.begin(), more.end());
  }
  return specs;
}

/// What a request says of a setting, its default included; empty if nothing.
std::string value_in(const MethodRequest& request, const ParamSpec& spec) {
  const Params params = choose_method(request).params;
  return params.has(spec.name) ? params.get_choice(spec.name) : std::string();
}

std::string text_of(const MethodRequest& request) {
  std::string text = fmt::format("{} --group {}", request.method, request.group.value_or(0));
  for (const auto& [name, value] : request.params) text += fmt::format(" --{} {}", name, value);
  return text;
}

/// Expects that another value of `spec` changes the result, or that each is refused with the name
/// of the setting, or of `beside`.
void expect_effect(const MethodRequest& request, const ParamSpec& spec, std::string_view beside,
                   Moment known = Moment::kKnown) {
  constexpr int kDraws = 5;  // one scale for a matrix is the same with many settings
  if (!outcome_of(request, known).q) return;
  const std::string current = value_in(request, spec);
  bool changed = false, refused = true;
  for (const std::string& value : values_of(spec)) {
    MethodRequest with = request;
    with.params[std::string(spec.name)] = value;
    if (changed || value == current) continue;
    const Outcome after = outcome_of(with, known);
    if (after.q) {
      refused = false;
      for (int draw = 0; draw < kDraws && !changed; ++draw) {
        changed = !(*outcome_of(with, known, draw).q == *outcome_of(request, known, draw).q);
      }
      continue;
    }
    const bool named =
        after.refusal.find(fmt::format("--{}", spec.name)) != std::string::npos ||
        (!beside.empty() && after.refusal.find(fmt::format("--{}", beside)) != std::string::npos);
    EXPECT_TRUE(named) << text_of(with) << ": " << after.refusal;
  }
  EXPECT_TRUE(changed || refused) << text_of(request) << ": --" << spec.name
                                  << " changes nothing and is not refused";
}

class Settings : public ::testing::TestWithParam<Method> {};
INSTANTIATE_TEST_SUITE_P(Table, Settings, ::testing::ValuesIn(all_methods()),
                         [](const auto& param) {
                           std::string name(param.param.name);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

/// Alone only: with another setting it may lose what it acts on (--explore tells weights from off
/// only where the grid searches, --preclamp on moves only weights beyond the grid's range).
bool acts_on_data(const ParamSpec& spec) {
  return spec.name == "explore" || spec.name == "preclamp";
}

/// Three bits where the grid has them: coarse enough for every choice to matter.
MethodRequest request_of(const Method& method, int64_t group) {
  const Grid& grid = find_grid(method.grid);
  return {.method = std::string(method.name),
          .bits = std::clamp(3, grid.min_bits, grid.max_bits),
          .group = group};
}

TEST_P(Settings, AloneChangeTheResultOrAreRefusedByName) {
  for (const int64_t group : {0, 32}) {
    const MethodRequest request = request_of(GetParam(), group);
    for (const ParamSpec& spec : specs_of(GetParam())) expect_effect(request, spec, {});
  }
}

TEST_P(Settings, WithoutSecondMomentsChangeTheResultOrAreRefusedByName) {
  for (const int64_t group : {0, 32}) {
    const MethodRequest request = request_of(GetParam(), group);
    if (needs_moment(choose_method({.method = request.method}))) continue;
    for (const ParamSpec& spec : specs_of(GetParam())) {
      expect_effect(request, spec, {}, Moment::kUnknown);
    }
  }
}

TEST_P(Settings, BesideAnotherChangeTheResultOrAreRefusedByName) {
  const std::vector<ParamSpec> specs = specs_of(GetParam());
  for (const ParamSpec& other : specs) {
    if (other.kind != ParamKind::kChoice) continue;
    for (const std::string_view choice : other.choices) {
      MethodRequest request = request_of(GetParam(), 32);
      if (choose_method(MethodRequest{.method = request.method}).params.has("explore")) {
        request.params["explore"] = "weights";  // seven times as fast
      }
      request.params[std::string(other.name)] = std::string(choice);
      if (!outcome_of(request, Moment::kKnown).q) request.group = 0;
      for (const ParamSpec& spec : specs) {
        if (spec.name != other.name && !acts_on_data(spec)) {
          expect_effect(request, spec, other.name);
        }
      }
    }
  }
}

}  // namespace
}  // namespace twofold

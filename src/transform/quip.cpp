// QuIP's incoherence processing, arXiv:2307.13304, Algorithm 1 and Sec. 4: diagonal rescale, then a
// random orthogonal Kronecker product with random permutations on both sides. Differs: the input
// side is shared by the matrices that read the input (`--transform-per matrix` as published), the
// factors are balanced (`--factors published` as in the paper's code), the determinant is free.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/rng.h"
#include "transform/kronecker.h"
#include "transform/members.h"
#include "transform/two_sided.h"

namespace twofold {
namespace {

constexpr std::string_view kBalanced = "balanced", kPublished = "published";
/// Below this, diagonals and column norms count as this (the paper's code).
constexpr double kFloor = 1e-8;

bool rescales(const Params& params) { return params.get_choice("rescale") == "on"; }
bool per_matrix(const Params& params) { return params.get_choice("transform-per") == "matrix"; }

FactorRule rule_of(std::string_view variant) {
  if (variant == kBalanced) return FactorRule::kBalanced;
  if (variant == kPublished) return FactorRule::kPublished;
  fail(ErrorCode::kCorruptFile, "transform 'quip'", "expected factors {} or {}, found '{}'",
       kBalanced, kPublished, variant);
}

std::string check_shape(const Params& params, int64_t rows, int64_t cols) {
  const FactorRule rule = rule_of(params.get_choice("factors"));
  for (const int64_t side : {cols, rows}) {
    const std::string refusal = kronecker_refusal(rule, side);
    if (!refusal.empty()) fail(ErrorCode::kUnsupported, "transform 'quip'", refusal);
  }
  return {};
}

/// 1 / d with d_j = (H_jj / sum over rows of W_rj^2)^(1/4): minimizes tr(H) |W|^2 over diagonals.
std::vector<float> fit_scale(const TransformProblem& problem) {
  const int64_t cols = problem.moment.cols;
  const std::vector<double> energy = column_energy(problem.weights, cols);
  std::vector<float> scale(energy.size());
  for (int64_t c = 0; c < cols; ++c) {
    const size_t i = static_cast<size_t>(c);
    const double ratio = std::max(problem.moment.at(c, c), kFloor) / std::max(energy[i], kFloor);
    scale[i] = storable_scale(1 / std::sqrt(std::sqrt(ratio)));
  }
  return scale;
}

TransformSpec fit_input(const TransformProblem& problem, ThreadPool& /*pool*/) {
  const std::string variant = problem.params.get_choice("factors");
  const int64_t cols = problem.weights.front().cols;
  TransformSpec spec{
      .name = "quip",
      .variant = variant,
      .input_seed = Rng(problem.seed, fmt::format("{}/input", problem.name)).next_u64(),
      .input_scale = {}};
  spec.input_checksum = KroneckerRotation(spec.input_seed, rule_of(variant), cols).checksum();
  if (!rescales(problem.params)) return spec;
  if (problem.moment.data == nullptr) {
    fail(ErrorCode::kInvalidArgument, problem.name,
         "transform quip rescales by second moments: give calibration data, or --rescale off");
  }
  spec.input_scale = fit_scale(problem);
  return spec;
}

void add_output(TransformSpec& spec, uint64_t seed, std::string_view matrix_name, int64_t rows) {
  spec.output_seed = Rng(seed, fmt::format("{}/output", matrix_name)).next_u64();
  spec.output_checksum =
      KroneckerRotation(spec.output_seed, rule_of(spec.variant), rows).checksum();
}

std::unique_ptr<const Rotation> draw(std::string_view side, uint64_t seed, uint64_t checksum,
                                     FactorRule rule, int64_t n) {
  const std::string refusal = kronecker_refusal(rule, n);
  if (!refusal.empty()) fail(ErrorCode::kCorruptFile, "transform 'quip'", refusal);
  auto rotation = std::make_unique<KroneckerRotation>(seed, rule, n);
  check_drawn(*rotation, "quip", side, seed, checksum);
  return rotation;
}

std::unique_ptr<const PreparedTransform> prepare(const TransformSpec& spec, int64_t rows,
                                                 int64_t cols) {
  check_input_scale(spec, cols, !spec.input_scale.empty());
  const FactorRule rule = rule_of(spec.variant);
  auto input = draw("input", spec.input_seed, spec.input_checksum, rule, cols);
  if (rows == 0) return make_two_sided(spec.input_scale, std::move(input), nullptr);
  auto output = draw("output", spec.output_seed, spec.output_checksum, rule, rows);
  return make_two_sided(spec.input_scale, std::move(input), std::move(output));
}

int64_t stored_bytes(const TransformSpec& spec) {
  return static_cast<int64_t>(spec.input_scale.size() * sizeof(uint16_t));
}

}  // namespace

const Transform& quip_transform() {
  static const Transform kTransform = {
      .name = "quip",
      .paper = "arXiv:2307.13304",
      .help = "diagonal rescale, random orthogonal Kronecker products on both sides",
      .params = {{.name = "factors",
                  .kind = ParamKind::kChoice,
                  .fallback = kBalanced,
                  .help = "sides of the Kronecker factors: near the square root, or by the rule of "
                          "the paper's code",
                  .choices = {kBalanced, kPublished}},
                 {.name = "transform-per",
                  .kind = ParamKind::kChoice,
                  .fallback = "input",
                  .help = "one input side for all matrices that read an input, or (as published) "
                          "one for each",
                  .choices = {"input", "matrix"}},
                 {.name = "rescale",
                  .kind = ParamKind::kChoice,
                  .fallback = "on",
                  .help = "scale inputs so that weights and second moments share the spread; needs "
                          "calibration",
                  .choices = {"on", "off"}}},
      .identity = false,
      .needs_moment = rescales,
      .check_shape = check_shape,
      .per_matrix = per_matrix,
      .has_input_scale = rescales,
      .fit_input = fit_input,
      .add_output = add_output,
      .prepare = prepare,
      .stored_bytes = stored_bytes};
  return kTransform;
}

}  // namespace twofold

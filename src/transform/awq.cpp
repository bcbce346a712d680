// AWQ's scaling, arXiv:2306.00978, Sec. 3.2: inputs that are large on average are divided by a
// power of their mean magnitude and their weights multiplied by it. Differs: the vector is applied
// at the input, not folded into the layer before; the loss of a power is tr(E H E^T) over the
// matrices that read the input, not the error of the block's outputs.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "transform/members.h"
#include "transform/two_sided.h"

namespace twofold {
namespace {

constexpr int kPowers = 20;  // 0, 1/20, ..., 19/20
constexpr double kFloor = 1e-4;

bool always(const Params& /*params*/) { return true; }
bool never(const Params& /*params*/) { return false; }

std::string check_shape(const Params& /*params*/, int64_t /*rows*/, int64_t /*cols*/) { return {}; }

/// The mean of |x_j|; its root mean square where the mean was not collected. @return [cols].
std::vector<double> magnitudes(const TransformProblem& problem) {
  if (!problem.mean_magnitude.empty()) {
    return {problem.mean_magnitude.begin(), problem.mean_magnitude.end()};
  }
  std::vector<double> result;
  for (int64_t c = 0; c < problem.moment.cols; ++c) {
    result.push_back(std::sqrt(problem.moment.at(c, c)));
  }
  return result;
}

/// 1 / s with s_j = max(magnitude_j^power, 1e-4) / sqrt(max s min s), as it will be stored.
std::vector<float> scale_of(const std::vector<double>& magnitude, double power) {
  std::vector<double> s;
  for (const double value : magnitude) s.push_back(std::max(std::pow(value, power), kFloor));
  const auto [least, most] = std::minmax_element(s.begin(), s.end());
  const double middle = std::sqrt(*least * *most);
  std::vector<float> scale;
  for (const double value : s) scale.push_back(storable_scale(middle / value));
  return scale;
}

TransformSpec fit_input(const TransformProblem& problem, ThreadPool& /*pool*/) {
  if (problem.moment.data == nullptr || problem.trial == nullptr) {
    fail(ErrorCode::kInvalidArgument, problem.name,
         "transform awq measures its inputs: give calibration data");
  }
  const std::vector<double> magnitude = magnitudes(problem);
  TransformSpec spec{.name = "awq", .variant = {}, .input_scale = {}};
  double least = 0;
  for (int i = 0; i < kPowers; ++i) {
    std::vector<float> scale = scale_of(magnitude, static_cast<double>(i) / kPowers);
    std::vector<float> of_weights;
    for (const float value : scale) of_weights.push_back(1.0f / value);
    const double loss = problem.trial(of_weights);
    if (spec.input_scale.empty() || loss < least) {
      least = loss;
      spec.input_scale = std::move(scale);
    }
  }
  return spec;
}

void add_output(TransformSpec& /*spec*/, uint64_t /*seed*/, std::string_view /*matrix_name*/,
                int64_t /*rows*/) {}

std::unique_ptr<const PreparedTransform> prepare(const TransformSpec& spec, int64_t /*rows*/,
                                                 int64_t cols) {
  check_input_scale(spec, cols, true);
  return make_two_sided(spec.input_scale, nullptr, nullptr);
}

int64_t stored_bytes(const TransformSpec& spec) {
  return static_cast<int64_t>(spec.input_scale.size() * sizeof(uint16_t));
}

}  // namespace

const Transform& awq_transform() {
  static const Transform kTransform = {
      .name = "awq",
      .paper = "arXiv:2306.00978",
      .help = "inputs divided by a power of their mean magnitude, searched by the layer's loss",
      .params = {},
      .identity = false,
      .needs_moment = always,
      .check_shape = check_shape,
      .per_matrix = never,
      .has_input_scale = always,
      .fit_input = fit_input,
      .add_output = add_output,
      .prepare = prepare,
      .stored_bytes = stored_bytes};
  return kTransform;
}

}  // namespace twofold

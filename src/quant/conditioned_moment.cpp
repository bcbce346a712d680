#include "quant/conditioned_moment.h"

#include <cmath>

#include "base/error.h"

namespace twofold {

std::vector<ParamSpec> moment_params() {
  return {{.name = "damping",
           .kind = ParamKind::kFloat,
           .fallback = "0.01",
           .help = "share of the mean of diag(H) that is added to the diagonal",
           .choices = {},
           .min = 0,
           .max = 10}};
}

ConditionedMoment::ConditionedMoment(const SecondMoment& moment, double damping,
                                     std::string_view input_name)
    : cols_(moment.cols), h_(moment.h) {
  TWOFOLD_ASSERT(h_.size() == static_cast<size_t>(cols_ * cols_));
  for (const double value : h_) {
    if (!std::isfinite(value)) {
      fail(ErrorCode::kUnsupported, input_name, "the second moment holds {}", value);
    }
  }
  double trace = 0;
  for (int64_t j = 0; j < cols_; ++j) {
    double& entry = h_[static_cast<size_t>(j * cols_ + j)];
    if (entry == 0) {
      entry = 1;
      dead_.push_back(j);
    }
    trace += entry;
  }
  const double added = damping * trace / static_cast<double>(cols_);
  for (int64_t j = 0; j < cols_; ++j) h_[static_cast<size_t>(j * cols_ + j)] += added;
}

std::vector<float> ConditionedMoment::diagonal() const {
  std::vector<float> result(static_cast<size_t>(cols_));
  for (int64_t j = 0; j < cols_; ++j) {
    result[static_cast<size_t>(j)] = static_cast<float>(h_[static_cast<size_t>(j * cols_ + j)]);
  }
  return result;
}

}  // namespace twofold

#include "quant/conditioned_moment.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numeric>
#include <utility>

#include "base/checked_math.h"
#include "base/error.h"
#include "tensor/linalg.h"

namespace twofold {
namespace {

/// Damping to start from where none was asked for and H turned out to be singular.
constexpr double kLeastDamping = 1e-8;
constexpr double kMostDamping = 1e4;

std::vector<int64_t> columns_in_order(Matrix<const double> h, ColumnOrder order, int64_t width) {
  std::vector<int64_t> columns(static_cast<size_t>(h.cols));
  std::iota(columns.begin(), columns.end(), int64_t{0});
  switch (order) {
    case ColumnOrder::kNatural:
      break;
    case ColumnOrder::kDiagonal:
      std::stable_sort(columns.begin(), columns.end(),
                       [&](int64_t a, int64_t b) { return h.at(a, a) > h.at(b, b); });
      break;
    case ColumnOrder::kReversed:
      for (int64_t i = 0, end = h.cols; end > 0; end = round_down(end - 1, width)) {
        for (int64_t j = round_down(end - 1, width); j < end; ++j) {
          columns[static_cast<size_t>(i++)] = j;
        }
      }
      break;
  }
  return columns;
}

}  // namespace

struct ConditionedMoment::Cache {
  std::mutex mutex;
  std::map<std::pair<ColumnOrder, int64_t>, std::shared_ptr<const MomentFactor>> factors;
};

std::vector<ParamSpec> moment_params() {
  return {{.name = "damping",
           .kind = ParamKind::kFloat,
           .fallback = "0.01",
           .help = "share of the mean of diag(H) that is added to the diagonal",
           .choices = {},
           .min = 0,
           .max = 10,
           .unread = [](const ParamUse& use) { return use.moment_unread; }}};
}

ConditionedMoment::ConditionedMoment(const SecondMoment& moment, double damping,
                                     std::string_view input_name)
    : cols_(moment.cols),
      damping_(damping),
      name_(input_name),
      h_(moment.h),
      cache_(std::make_unique<Cache>()) {
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

ConditionedMoment::ConditionedMoment(ConditionedMoment&&) noexcept = default;
ConditionedMoment& ConditionedMoment::operator=(ConditionedMoment&&) noexcept = default;
ConditionedMoment::~ConditionedMoment() = default;

std::vector<float> ConditionedMoment::diagonal() const {
  std::vector<float> result(static_cast<size_t>(cols_));
  for (int64_t j = 0; j < cols_; ++j) {
    result[static_cast<size_t>(j)] = static_cast<float>(h_[static_cast<size_t>(j * cols_ + j)]);
  }
  return result;
}

std::shared_ptr<const MomentFactor> ConditionedMoment::factor(ColumnOrder order, int64_t width,
                                                              const Context& ctx) const {
  const std::pair key(order, order == ColumnOrder::kReversed ? width : 1);
  std::lock_guard lock(cache_->mutex);
  std::shared_ptr<const MomentFactor>& entry = cache_->factors[key];
  if (!entry) entry = make_factor(columns_in_order(h(), order, key.second), ctx);
  return entry;
}

std::shared_ptr<const MomentFactor> ConditionedMoment::make_factor(std::vector<int64_t> order,
                                                                   const Context& ctx) const {
  auto result = std::make_shared<MomentFactor>();
  result->order = std::move(order);
  result->stride = product_stride(cols_);
  result->r_transposed.resize(static_cast<size_t>(cols_ * result->stride));
  const Matrix<double> lower(result->r_transposed.data(), cols_, cols_, result->stride);
  double trace = 0;
  for (int64_t j = 0; j < cols_; ++j) trace += h().at(j, j);
  const double mean = trace / static_cast<double>(cols_) / (1 + damping_);
  for (double damping = damping_;; damping = std::max(10 * damping, kLeastDamping)) {
    result->added_damping = (damping - damping_) * mean;
    ctx.pool.run(cols_, [&](int64_t i, int /*worker*/) {
      const double* row = h_.data() + result->order[static_cast<size_t>(i)] * cols_;
      for (int64_t j = 0; j <= i; ++j) {
        lower.at(i, j) = row[result->order[static_cast<size_t>(j)]];
      }
      lower.at(i, i) += result->added_damping;
    });
    if (reversed_cholesky(lower, ctx.pool, ctx.isa)) {
      if (damping != damping_) {
        result->note = fmt::format("the second moment is singular at damping {}: {} was used",
                                   damping_, damping);
      }
      return result;
    }
    if (damping > kMostDamping) {
      fail(ErrorCode::kUnsupported, name_, "the second moment is not positive definite");
    }
  }
}

std::vector<double> ConditionedMoment::inverse_diagonal(const Context& ctx) const {
  return twofold::inverse_diagonal(factor(ColumnOrder::kNatural, 1, ctx)->lower(), ctx.pool,
                                   ctx.isa);
}

}  // namespace twofold

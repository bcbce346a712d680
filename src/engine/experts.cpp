#include "engine/experts.h"

#include <algorithm>
#include <numeric>

#include "engine/norm.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

struct Choice {
  int64_t expert;
  float weight;
};

/// The experts of one row, as many as `chosen` has room for, in the order of their numbers.
/// @param weights [experts], not negative.
void choose(std::span<const float> weights, bool norm, std::span<Choice> chosen) {
  size_t found = 0;
  for (size_t e = 0; e < weights.size(); ++e) {
    size_t at = found;  // behind all that are as large
    while (at > 0 && chosen[at - 1].weight < weights[e]) --at;
    if (at == chosen.size()) continue;
    if (found < chosen.size()) ++found;
    std::move_backward(chosen.begin() + static_cast<std::ptrdiff_t>(at),
                       chosen.begin() + static_cast<std::ptrdiff_t>(found) - 1,
                       chosen.begin() + static_cast<std::ptrdiff_t>(found));
    chosen[at] = {static_cast<int64_t>(e), weights[e]};
  }
  if (norm) {
    float sum = 0;
    for (const Choice& choice : chosen) sum += choice.weight;
    for (Choice& choice : chosen) choice.weight /= sum;
  }
  std::ranges::sort(chosen, {}, &Choice::expert);
}

/// The rows of one expert, one after the other: [rows.size(), x.cols].
Matrix<float> gather(Matrix<const float> x, std::span<const Routes::Row> rows,
                     AlignedBuffer<float>& gathered, const Context& ctx) {
  const Matrix<float> own(gathered.data(), std::ssize(rows), x.cols);
  for_rows(own.rows, ctx, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::ranges::copy(x.row(rows[static_cast<size_t>(r)].row), own.row(r).begin());
    }
  });
  return own;
}

}  // namespace

Routes route_rows(const ModelConfig& c, Matrix<float> logits, const Context& ctx) {
  const Ops& op = ops(ctx.isa);
  const auto each = static_cast<size_t>(c.experts_per_token);
  std::vector<Choice> chosen(static_cast<size_t>(logits.rows) * each);
  for_rows(logits.rows, ctx, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float top = 0, total = 0;
      op.softmax(1, logits.row(r).data(), logits.cols, &top, &total);
      choose(logits.row(r), c.norm_expert_weights,
             std::span(chosen).subspan(static_cast<size_t>(r) * each, each));
    }
  });
  Routes routes;
  routes.begin.resize(static_cast<size_t>(logits.cols + 1));
  for (const Choice& choice : chosen) ++routes.begin[static_cast<size_t>(choice.expert + 1)];
  std::partial_sum(routes.begin.begin(), routes.begin.end(), routes.begin.begin());
  routes.rows.resize(chosen.size());
  std::vector<int64_t> next(routes.begin.begin(), routes.begin.end() - 1);
  for (size_t i = 0; i < chosen.size(); ++i) {
    int64_t& at = next[static_cast<size_t>(chosen[i].expert)];
    routes.rows[static_cast<size_t>(at++)] = {static_cast<int64_t>(i / each), chosen[i].weight};
  }
  return routes;
}

/// @return true if stopped.
bool Experts::show_inputs(const Routes& routes, Matrix<const float> x, ExpertBuffers& buffers,
                          const InputWatch& watch, const Context& ctx) const {
  if (!watch.observer && watch.stop_at.empty()) return false;
  for (size_t e = 0; e < experts_.size(); ++e) {
    const auto rows = routes.of(static_cast<int64_t>(e));
    if (watch.observer && !rows.empty()) {
      watch.show(*experts_[e].in, gather(x, rows, buffers.gathered, ctx));
    }
    if (watch.stops_at(*experts_[e].in)) return true;
  }
  return false;
}

bool Experts::run(Matrix<float> x, ExpertBuffers& buffers, AlignedBuffer<float>& wide,
                  const InputWatch& watch, const Context& ctx) const {
  const ModelConfig& c = config_;
  if (watch.show(*router_, x)) return true;
  buffers.logits.ensure(static_cast<size_t>(x.rows * c.experts));
  const Matrix<float> logits(buffers.logits.data(), x.rows, c.experts);
  router_->apply(x, logits, ctx);
  const Routes routes = route_rows(c, logits, ctx);
  int64_t most = 0;
  for (int64_t e = 0; e < c.experts; ++e) most = std::max(most, std::ssize(routes.of(e)));
  buffers.gathered.ensure(static_cast<size_t>(most * x.cols));
  if (show_inputs(routes, x, buffers, watch, ctx)) return true;
  buffers.sum.ensure(static_cast<size_t>(x.rows * x.cols));
  const Matrix<float> sum(buffers.sum.data(), x.rows, x.cols);
  std::fill_n(sum.data, sum.rows * sum.cols, 0.0f);
  const Ops& op = ops(ctx.isa);
  for (size_t e = 0; e < experts_.size(); ++e) {
    const Mlp& expert = experts_[e];
    const auto rows = routes.of(static_cast<int64_t>(e));
    if (rows.empty()) {
      if (watch.stops_at(*expert.out)) return true;
      continue;
    }
    const Matrix<float> own = gather(x, rows, buffers.gathered, ctx);
    const Matrix<float> mid = expert.mid(c, own, wide, ctx);
    if (watch.show(*expert.out, mid)) return true;
    if (!watch.stop_at.empty()) continue;  // at a later expert: nothing is added
    expert.out->apply(mid, own, ctx);
    for_rows(own.rows, ctx, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const Routes::Row& row = rows[static_cast<size_t>(r)];
        op.axpy(row.weight, own.row(r).data(), sum.row(row.row).data(), x.cols);
      }
    });
  }
  for (int64_t r = 0; r < x.rows; ++r) std::ranges::copy(sum.row(r), x.row(r).begin());
  return false;
}

}  // namespace twofold

#include "engine/norm.h"

#include "tensor/ops.h"

namespace twofold {
namespace {

/// True if a rule of the family makes this slot in models whose norms have weights.
bool family_has(const ModelFiles& files, const std::string& slot, int64_t layers) {
  for (const TensorRule& rule : files.family->rules) {
    for (int64_t layer = -1; layer < layers; ++layer) {
      if (rule.role == Role::kNorm && numbered(rule.slot, layer) == slot) return true;
    }
  }
  return false;
}

}  // namespace

std::optional<Norm> read_norm(const ModelFiles& files, const std::string& slot) {
  const Slot* weight = files.find(slot);
  if (weight == nullptr) {
    const bool plain = !files.config.norm_weights &&
                       (slot != "final_norm" || files.config.final_norm) &&
                       family_has(files, slot, files.config.layers);
    if (!plain) return std::nullopt;
    return Norm{std::vector<float>(static_cast<size_t>(files.config.hidden), 1.0f), {}};
  }
  Norm norm;
  norm.weight = read_vector(*weight);
  if (const Slot* bias = files.find(slot + ".bias")) norm.bias = read_vector(*bias);
  return norm;
}

void norm_rows_serial(const ModelConfig& config, const Norm& norm, Matrix<const float> x,
                      Matrix<float> y, Isa isa) {
  const Ops& op = ops(isa);
  const float eps = static_cast<float>(config.norm_eps);
  const bool rms = config.norm == NormKind::kRmsNorm;
  const int64_t width = std::ssize(norm.weight);
  const float* bias = norm.bias.empty() ? nullptr : norm.bias.data();
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t begin = 0; begin < x.cols; begin += width) {
      const float* from = x.row(r).data() + begin;
      float* to = y.row(r).data() + begin;
      if (rms) {
        op.rms_norm(from, norm.weight.data(), eps, to, width);
      } else {
        op.layer_norm(from, norm.weight.data(), bias, eps, to, width);
      }
    }
  }
}

void norm_rows(const ModelConfig& config, const Norm& norm, Matrix<const float> x, Matrix<float> y,
               const Context& ctx) {
  for_rows(x.rows, ctx, [&](int64_t begin, int64_t end) {
    norm_rows_serial(config, norm, {x.row(begin).data(), end - begin, x.cols, x.stride},
                     {y.row(begin).data(), end - begin, y.cols, y.stride}, ctx.isa);
  });
}

}  // namespace twofold

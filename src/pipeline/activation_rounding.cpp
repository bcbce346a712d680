#include "pipeline/activation_rounding.h"

#include <algorithm>
#include <array>

#include "base/aligned_buffer.h"
#include "kernels/int8_activations.h"
#include "kernels/packed_view.h"
#include "tensor/gemm.h"

namespace twofold {
namespace {

double energy(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

struct RoundedNormal {
  int64_t block;
  double error;
};

/// Columns per scale, and the squared error of rounding normal numbers of variance 1 so: E[max^2]
/// of a block / (12 x 127^2).
constexpr std::array<RoundedNormal, 3> kBlocks = {{{128, 4.21e-5}, {64, 3.57e-5}, {32, 2.95e-5}}};

constexpr const char *kBlockKey = "activation_block", *kDigitsKey = "activation_digits";

}  // namespace

void store_rounding(const ActivationRounding& rounding, OrderedJson& tensor) {
  tensor.erase(kBlockKey);
  tensor.erase(kDigitsKey);
  if (rounding.block != kActivationBlock) tensor[kBlockKey] = rounding.block;
  if (rounding.digits != 1) tensor[kDigitsKey] = rounding.digits;
}

ActivationRounding stored_rounding(const OrderedJson& tensor) {
  return {.block = tensor.value(kBlockKey, kActivationBlock),
          .digits = tensor.value(kDigitsKey, int64_t{1})};
}

ActivationRounding choose_activation_rounding(const Format& format, Role role, double proxy_loss) {
  if (!weight_kind(format)) return {};
  for (const RoundedNormal& normal : kBlocks) {
    if (normal.error <= kActivationLossShare * proxy_loss) return {.block = normal.block};
  }
  if (role == Role::kHead || role == Role::kEmbedding) return {.digits = 2};
  return {.block = kBlocks.back().block};
}

ActivationRounding choose_activation_rounding(const PackedMatrix& packed,
                                              const TransformSpec& transform,
                                              Matrix<const float> sample, double proxy_loss,
                                              const Context& ctx) {
  if (!weight_kind(packed.format)) return {};
  const auto inputs = static_cast<size_t>(sample.rows * sample.cols);
  const auto outputs = static_cast<size_t>(sample.rows * packed.rows);
  AlignedBuffer<float> basis(inputs), error(inputs);
  const Matrix<float> x(basis.data(), sample.rows, sample.cols);
  const Matrix<float> e(error.data(), sample.rows, sample.cols);
  for (int64_t r = 0; r < x.rows; ++r) std::ranges::copy(sample.row(r), x.row(r).begin());
  prepare_transform(transform, packed.rows, packed.cols)->apply_input(x, ctx.isa);
  const std::unique_ptr<RowSource> weight = make_row_source(packed);
  std::vector<float> y(outputs);
  const auto output_energy = [&](Matrix<const float> input) {
    matmul(input, *weight, {y.data(), sample.rows, packed.rows}, ctx.pool, ctx.isa);
    return energy(y);
  };
  const double energy_of_outputs = output_energy(x);
  const double allowed = kActivationLossShare * proxy_loss;
  for (const RoundedNormal& normal : kBlocks) {
    const ActivationRounding rounding = {.block = normal.block};
    Int8Activations(x, rounding, ctx.isa, ctx.pool).dequantize(e);
    for (size_t i = 0; i < inputs; ++i) error[i] = basis[i] - error[i];
    const double loss = output_energy(e);
    const bool last = normal.block == kBlocks.back().block;
    const double enough = last ? std::max(allowed, kSmallActivationLoss) : allowed;
    if (loss <= enough * energy_of_outputs) return rounding;
  }
  return {.digits = 2};
}

}  // namespace twofold

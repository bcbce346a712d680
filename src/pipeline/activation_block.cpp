#include "pipeline/activation_block.h"

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

}  // namespace

int64_t choose_activation_block(const PackedMatrix& packed, const TransformSpec& transform,
                                Matrix<const float> sample, double proxy_loss, const Context& ctx) {
  constexpr std::array<int64_t, 2> kLarger = {128, 64};
  if (sample.rows == 0 || !weight_kind(packed.format)) return kActivationBlock;
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
  const double allowed = kActivationLossShare * proxy_loss * output_energy(x);
  for (const int64_t block : kLarger) {
    Int8Activations(x, block, ctx.isa, ctx.pool).dequantize(e);
    for (size_t i = 0; i < inputs; ++i) error[i] = basis[i] - error[i];
    if (output_energy(e) <= allowed) return block;
  }
  return kSumColumns;
}

}  // namespace twofold

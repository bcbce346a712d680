#include "engine/linear.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "base/aligned_buffer.h"
#include "base/checked_math.h"
#include "tensor/gemm.h"
#include "tensor/ops.h"
#include "transform/transform_json.h"

namespace twofold {
namespace {

PackedMatrix packed_of(const ModelFiles& files, const Slot& slot) {
  const std::string where = fmt::format("{}: {}", files.path.string(), slot.name);
  Format format;
  try {
    format = parse_format(slot.format);
  } catch (const Error& e) {  // here the name comes from a file, not from the caller
    fail(ErrorCode::kCorruptFile, where, e.what());
  }
  return open_packed(format, slot.shape[0], slot.shape[1],
                     {{DType::kU8, slot.tensor->shape, slot.tensor->bytes}, slot.tensor->owner},
                     where);
}

/// The matrix as a kernel or the panel path multiplies it, in the stored basis.
std::unique_ptr<RowSource> source_of(const Slot& slot, const std::optional<PackedMatrix>& packed) {
  return packed ? make_row_source(*packed) : make_row_source(*slot.tensor, slot.view);
}

/// Rows that a transform is given at once.
constexpr int64_t kRowBlock = 32;

/// Calls body(begin, end) over blocks of rows; one block runs on the calling thread.
template <class Body>
void for_row_blocks(int64_t rows, const Context& ctx, const Body& body) {
  if (rows <= kRowBlock) {
    body(int64_t{0}, rows);
    return;
  }
  ctx.pool.run(ceil_div(rows, kRowBlock), [&](int64_t item, int) {
    body(item * kRowBlock, std::min(rows, (item + 1) * kRowBlock));
  });
}

Matrix<float> rows_of(Matrix<float> x, int64_t begin, int64_t end) {
  return {x.data + begin * x.stride, end - begin, x.cols, x.stride};
}

}  // namespace

const Kernel* product_kernel(std::span<const Kernel* const> kernels, int64_t m,
                             const Context& ctx) {
  if (ctx.activations == Activations::kFloat) return nullptr;
  return best_kernel(kernels, m, std::min(ctx.isa, ctx.kernel_limit));
}

Linear::Linear(const ModelFiles& files, const Slot& slot, const Slot* bias) {
  if (!slot.format.empty()) packed_ = packed_of(files, slot);
  source_ = source_of(slot, packed_);
  set_kernels();
  stored_bytes_ = slot_bytes(slot);
  if (!slot.transform.is_null()) bind_stored_transform(files, slot);
  if (slot.activation_block != 0) rounding_.block = slot.activation_block;
  rounding_.digits = slot.activation_digits;
  if (!is_activation_rounding(rounding_)) {
    fail(ErrorCode::kCorruptFile, fmt::format("{}: {}", files.path.string(), slot.name),
         "expected activation_block 32, 64 or 128 and activation_digits 1 or 2, found {} and {}",
         rounding_.block, rounding_.digits);
  }
  if (bias != nullptr) bias_ = read_vector(*bias);
}

Linear::Linear(PackedMatrix packed, const TransformSpec& transform, const Slot* bias)
    : packed_(std::move(packed)) {
  source_ = make_row_source(*packed_);
  set_kernels();
  stored_bytes_ = static_cast<int64_t>(packed_->bytes.view.bytes.size());
  bind_transform(transform);
  if (bias != nullptr) bias_ = read_vector(*bias);
}

void Linear::bind_stored_transform(const ModelFiles& files, const Slot& slot) {
  const std::string where = fmt::format("{}: {}", files.path.string(), slot.name);
  TransformSpec spec = transform_from_json(slot.transform, where).spec;
  if (slot.input_scale != nullptr) {
    spec.input_scale.resize(static_cast<size_t>(slot.input_scale->elements()));
    slot.input_scale->decode(0, slot.input_scale->elements(), spec.input_scale.data());
  }
  try {
    bind_transform(spec);
  } catch (const Error& e) {  // the specification comes from a file
    fail(ErrorCode::kCorruptFile, where, e.what());
  }
}

void Linear::bind_transform(const TransformSpec& spec) {
  spec_ = spec;
  transform_ = prepare_transform(spec, rows(), cols());
  if (transform_->identity()) transform_ = nullptr;
}

void Linear::set_kernels() {
  if (!packed_) return;
  kernels_ = kernels_of(packed_->format);
  if (!kernels_.empty()) view_ = packed_view(*packed_);
}

void Linear::multiply(LinearInput& x, Matrix<float> y, const Context& ctx) const {
  const int64_t m = y.rows * rounding_.digits;
  const Kernel* best = product_kernel(kernels_, m, ctx);
  if (best == nullptr) {
    matmul(x.in_basis(*this, ctx), *source_, y, ctx.pool, ctx.isa);
    return;
  }
  if (rounding_.digits == 1) return multiply_rounded(*best, x, y, ctx);
  x.digits_.ensure(static_cast<size_t>(m * y.cols));
  const Matrix<float> digits(x.digits_.data(), m, y.cols);
  multiply_rounded(*best, x, digits, ctx);
  for_row_blocks(y.rows, ctx, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::ranges::transform(digits.row(2 * r), digits.row(2 * r + 1), y.row(r).begin(),
                             std::plus<>());
    }
  });
}

/// y [m digits, rows]: products of the rounded rows.
void Linear::multiply_rounded(const Kernel& kernel, LinearInput& x, Matrix<float> y,
                              const Context& ctx) const {
  MatmulArgs args = {.weights = &view_,
                     .x = x.rounded(*this, rounding_, ctx).cut(view_.group),
                     .m = y.rows,
                     .y = y.data,
                     .y_stride = y.stride};
  const size_t bytes = kernel.scratch_bytes == nullptr
                           ? 0
                           : static_cast<size_t>(kernel.scratch_bytes(view_, y.rows));
  x.scratch_.resize(static_cast<size_t>(ctx.pool.size()));
  const auto blocks = [&](int64_t begin, int64_t end, int worker) {
    AlignedBuffer<uint8_t>& scratch = x.scratch_[static_cast<size_t>(worker)];
    scratch.ensure(bytes);
    MatmulArgs part = args;
    part.block_begin = begin;
    part.block_end = end;
    part.scratch = scratch.data();
    kernel.run(part);
  };
  if (bytes == 0 || kernel.contiguous) {
    ctx.pool.run_static(view_.blocks, blocks);
    return;
  }
  const int64_t each = blocks_per_item(kernel, view_.blocks, ctx.pool.size());
  ctx.pool.run(ceil_div(view_.blocks, each), [&](int64_t item, int worker) {
    blocks(item * each, std::min((item + 1) * each, view_.blocks), worker);
  });
}

void Linear::apply(Matrix<const float> x, Matrix<float> y, const Context& ctx) const {
  LinearInput input(x, true);
  apply(input, y, ctx);
}

AlignedBuffer<float> Linear::input_in_basis(Matrix<const float> x, const Context& ctx) const {
  AlignedBuffer<float> buffer(static_cast<size_t>(x.rows * x.cols));
  const Matrix<float> in_basis(buffer.data(), x.rows, x.cols);
  for_row_blocks(x.rows, ctx, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(in_basis.row(r).data(), x.row(r).data(), x.row(r).size_bytes());
    }
    transform_->apply_input(rows_of(in_basis, begin, end), ctx.isa);
  });
  return buffer;
}

void Linear::apply(LinearInput& x, Matrix<float> y, const Context& ctx) const {
  multiply(x, y, ctx);
  if (transform_ == nullptr && bias_.empty()) return;
  const Ops& op = ops(ctx.isa);
  for_row_blocks(y.rows, ctx, [&](int64_t begin, int64_t end) {
    if (transform_ != nullptr) transform_->undo_output(rows_of(y, begin, end), ctx.isa);
    if (bias_.empty()) return;
    for (int64_t r = begin; r < end; ++r) op.add(bias_.data(), y.row(r).data(), y.cols);
  });
}

Matrix<const float> LinearInput::in_basis(const Linear& linear, const Context& ctx) {
  if (linear.in_model_basis()) return x_;
  if (!made_for(made_by_, linear)) {
    in_basis_ = linear.input_in_basis(x_, ctx);
    made_by_ = &linear;
  }
  return {in_basis_.data(), x_.rows, x_.cols};
}

Int8Activations& LinearInput::rounded(const Linear& linear, const ActivationRounding& rounding,
                                      const Context& ctx) {
  if (!made_for(rounded_by_, linear) || rounded_->rounding() != rounding) {
    rounded_.emplace(in_basis(linear, ctx), rounding, ctx.isa, ctx.pool);
    rounded_by_ = &linear;
  }
  return *rounded_;
}

bool Linear::shares_input(const Linear& other) const {
  TransformSpec mine = spec_;
  mine.output_seed = other.spec_.output_seed;
  mine.output_checksum = other.spec_.output_checksum;
  return mine == other.spec_;
}

void Linear::row(int64_t index, float* out) const { source_->decode_rows(index, 1, out, cols()); }

}  // namespace twofold

#include "engine/linear.h"

#include <algorithm>
#include <cstring>

#include "base/aligned_buffer.h"
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

}  // namespace

Linear::Linear(const ModelFiles& files, const Slot& slot, const Slot* bias) {
  if (!slot.format.empty()) packed_ = packed_of(files, slot);
  source_ = source_of(slot, packed_);
  stored_bytes_ = static_cast<int64_t>(slot.tensor->bytes.size());
  if (!slot.transform.is_null()) {
    bind_transform(
        transform_from_json(slot.transform, fmt::format("{}: {}", files.path.string(), slot.name))
            .spec);
  }
  if (bias != nullptr) bias_ = read_vector(*bias);
}

Linear::Linear(PackedMatrix packed, const TransformSpec& transform, const Slot* bias)
    : packed_(std::move(packed)) {
  source_ = make_row_source(*packed_);
  stored_bytes_ = static_cast<int64_t>(packed_->bytes.view.bytes.size());
  bind_transform(transform);
  if (bias != nullptr) bias_ = read_vector(*bias);
}

void Linear::bind_transform(const TransformSpec& spec) {
  transform_ = prepare_transform(spec, rows(), cols());
  if (transform_->identity()) transform_ = nullptr;
}

void Linear::multiply(Matrix<const float> x, Matrix<float> y, const Context& ctx) const {
  const Kernel* kernel = packed_ ? select_kernel(packed_->format, x.rows, ctx.isa) : nullptr;
  if (kernel == nullptr) {
    matmul(x, *source_, y, ctx.pool, ctx.isa);
    return;
  }
  // Blocks of 16 rows: the tile of every packed format.
  constexpr int64_t kTile = 16;
  ctx.pool.run_static((rows() + kTile - 1) / kTile, [&](int64_t begin, int64_t end, int) {
    kernel->run({.packed = &*packed_,
                 .x = x.data,
                 .x_stride = x.stride,
                 .y = y.data,
                 .y_stride = y.stride,
                 .m = x.rows,
                 .row_begin = begin * kTile,
                 .row_end = std::min(end * kTile, rows())});
  });
}

void Linear::apply(Matrix<const float> x, Matrix<float> y, const Context& ctx) const {
  if (transform_ == nullptr) {
    multiply(x, y, ctx);
  } else {
    AlignedBuffer<float> copy(static_cast<size_t>(x.rows * x.cols));
    Matrix<float> transformed(copy.data(), x.rows, x.cols);
    for (int64_t r = 0; r < x.rows; ++r) {
      std::memcpy(transformed.row(r).data(), x.row(r).data(), x.row(r).size_bytes());
    }
    transform_->apply_input(transformed, ctx.isa);
    multiply(transformed, y, ctx);
    transform_->undo_output(y, ctx.isa);
  }
  if (bias_.empty()) return;
  const Ops& op = ops(ctx.isa);
  for (int64_t r = 0; r < y.rows; ++r) op.add(bias_.data(), y.row(r).data(), y.cols);
}

void Linear::row(int64_t index, float* out) const { source_->decode_rows(index, 1, out, cols()); }

}  // namespace twofold

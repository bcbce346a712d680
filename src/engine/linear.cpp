#include "engine/linear.h"

#include <algorithm>
#include <cstring>

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

Linear::Linear(const ModelFiles& files, const Slot& slot, const Slot* bias) {
  if (!slot.format.empty()) packed_ = packed_of(files, slot);
  source_ = source_of(slot, packed_);
  stored_bytes_ = static_cast<int64_t>(slot.tensor->bytes.size());
  if (!slot.transform.is_null()) bind_stored_transform(files, slot);
  if (bias != nullptr) bias_ = read_vector(*bias);
}

Linear::Linear(PackedMatrix packed, const TransformSpec& transform, const Slot* bias)
    : packed_(std::move(packed)) {
  source_ = make_row_source(*packed_);
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
    apply_in_basis(x, y, ctx);
    return;
  }
  const AlignedBuffer<float> in_basis = input_in_basis(x, ctx);
  apply_in_basis({in_basis.data(), x.rows, x.cols}, y, ctx);
}

AlignedBuffer<float> Linear::input_in_basis(Matrix<const float> x, const Context& ctx) const {
  AlignedBuffer<float> buffer(static_cast<size_t>(x.rows * x.cols));
  const Matrix<float> in_basis(buffer.data(), x.rows, x.cols);
  for_row_blocks(x.rows, ctx, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(in_basis.row(r).data(), x.row(r).data(), x.row(r).size_bytes());
    }
    if (transform_ != nullptr) transform_->apply_input(rows_of(in_basis, begin, end), ctx.isa);
  });
  return buffer;
}

void Linear::apply_in_basis(Matrix<const float> x, Matrix<float> y, const Context& ctx) const {
  multiply(x, y, ctx);
  if (transform_ == nullptr && bias_.empty()) return;
  const Ops& op = ops(ctx.isa);
  for_row_blocks(y.rows, ctx, [&](int64_t begin, int64_t end) {
    if (transform_ != nullptr) transform_->undo_output(rows_of(y, begin, end), ctx.isa);
    if (bias_.empty()) return;
    for (int64_t r = begin; r < end; ++r) op.add(bias_.data(), y.row(r).data(), y.cols);
  });
}

bool Linear::shares_input(const Linear& other) const {
  TransformSpec mine = spec_;
  mine.output_seed = other.spec_.output_seed;
  mine.output_checksum = other.spec_.output_checksum;
  return mine == other.spec_;
}

void Linear::row(int64_t index, float* out) const { source_->decode_rows(index, 1, out, cols()); }

}  // namespace twofold

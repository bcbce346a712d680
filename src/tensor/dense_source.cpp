#include "tensor/dense_source.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/checked_math.h"
#include "base/error.h"
#include "tensor/ops.h"

namespace twofold {
namespace {

// out[i] = the `count` numbers of `view` that start `offset` elements after its data.
void widen(const Ops& ops, const DenseView& view, int64_t offset, int64_t count, float* out) {
  if (count == 0) return;  // pointers may be null
  if (view.dtype == DType::kF32) {
    std::memcpy(out, static_cast<const float*>(view.data) + offset,
                static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const uint16_t* bits = static_cast<const uint16_t*>(view.data) + offset;
  (view.dtype == DType::kF16 ? ops.f16_to_f32 : ops.bf16_to_f32)(bits, out, count);
}

}  // namespace

DenseSource::DenseSource(Matrix<const float> weight, Isa isa)
    : ops_(ops(isa)),
      view_{DType::kF32, weight.data, weight.stride},
      rows_(weight.rows),
      cols_(weight.cols) {}

DenseSource::DenseSource(Tensor weight, Isa isa, std::string_view where)
    : tensor_(std::move(weight)), ops_(ops(isa)) {
  const TensorView& view = tensor_.view;
  const DTypeInfo& type = dtype_info(view.dtype);
  if (!type.is_float16_or_32 || view.shape.size() != 2) {
    fail(ErrorCode::kInvalidArgument, where,
         "expected F32, F16 or BF16 with two sides, found {} {}", type.name,
         shape_text(view.shape));
  }
  const int64_t wanted =
      checked_mul(element_count(view.shape, where), static_cast<int64_t>(type.bytes), where);
  if (static_cast<size_t>(wanted) != view.bytes.size()) {
    fail(ErrorCode::kInvalidArgument, where, "expected {} bytes for {} {}, found {}", wanted,
         type.name, shape_text(view.shape), view.bytes.size());
  }
  if (reinterpret_cast<uintptr_t>(view.bytes.data()) % type.bytes != 0) {
    fail(ErrorCode::kInvalidArgument, where, "expected {} numbers aligned to {} bytes", type.name,
         type.bytes);
  }
  rows_ = view.shape[0];
  cols_ = view.shape[1];
  view_ = {view.dtype, view.bytes.data(), cols_};
}

void DenseSource::decode_rows(int64_t begin, int64_t count, float* out, int64_t stride) const {
  for (int64_t r = 0; r < count; ++r) {
    widen(ops_, view_, (begin + r) * view_.stride, cols_, out + r * stride);
  }
}

TransposedSource::TransposedSource(Matrix<const float> stored, Isa isa)
    : stored_(stored, isa), ops_(ops(isa)) {}

TransposedSource::TransposedSource(Tensor stored, Isa isa, std::string_view where)
    : stored_(std::move(stored), isa, where), ops_(ops(isa)) {}

void TransposedSource::decode_rows(int64_t begin, int64_t count, float* out, int64_t stride) const {
  constexpr int64_t kRun = 16;  // stored neighbours read together: one cache line of float32
  const DenseView& view = *stored_.dense();
  std::array<float, kRun> run;
  for (int64_t r0 = 0; r0 < count; r0 += kRun) {
    const int64_t length = std::min(kRun, count - r0);
    for (int64_t c = 0; c < cols(); ++c) {
      widen(ops_, view, c * view.stride + begin + r0, length, run.data());
      for (int64_t r = 0; r < length; ++r) {
        out[(r0 + r) * stride + c] = run[static_cast<size_t>(r)];
      }
    }
  }
}

}  // namespace twofold

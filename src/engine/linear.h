// Linear: one weight matrix of the model as an operator: transform of the input, product by a
// kernel or by decoded panels, transform of the output, bias.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/context.h"
#include "formats/format.h"
#include "kernels/select.h"
#include "model/model_files.h"
#include "tensor/row_source.h"
#include "tensor/tensor.h"
#include "transform/transform.h"

namespace twofold {

class Linear {
 public:
  /// Binds a slot; `bias` may be null. @throws Error(kCorruptFile) on bad packed data.
  Linear(const ModelFiles& files, const Slot& slot, const Slot* bias);
  /// A matrix that is in no file yet, stored in the basis of `transform`; shares its bytes.
  Linear(PackedMatrix packed, const TransformSpec& transform, const Slot* bias);

  int64_t rows() const { return source_->rows(); }
  int64_t cols() const { return source_->cols(); }
  /// Bytes read per product, bias left out.
  int64_t stored_bytes() const { return stored_bytes_; }

  /// y = W x + bias: x [m, cols], y [m, rows].
  void apply(Matrix<const float> x, Matrix<float> y, const Context& ctx) const;
  /// x [m, cols] in the stored basis, for `apply_in_basis` of all linears that share the input.
  AlignedBuffer<float> input_in_basis(Matrix<const float> x, const Context& ctx) const;
  /// `apply` for an input that is in the stored basis already.
  void apply_in_basis(Matrix<const float> x, Matrix<float> y, const Context& ctx) const;
  /// True if `input_in_basis` of both gives the same numbers.
  bool shares_input(const Linear& other) const;
  /// Rows of W in the model's basis (an embedding table's look-up): out [cols].
  void row(int64_t index, float* out) const;
  /// True if rows are stored in the model's own basis, so that they can be looked up.
  bool in_model_basis() const { return transform_ == nullptr; }

 private:
  void bind_stored_transform(const ModelFiles& files, const Slot& slot);
  void bind_transform(const TransformSpec& spec);
  void multiply(Matrix<const float> x, Matrix<float> y, const Context& ctx) const;

  std::unique_ptr<RowSource> source_;
  std::optional<PackedMatrix> packed_;
  TransformSpec spec_;
  std::unique_ptr<const PreparedTransform> transform_;  // null: stored in the model's basis
  std::vector<float> bias_;                             // [rows] or empty
  int64_t stored_bytes_ = 0;
};

}  // namespace twofold

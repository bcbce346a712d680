// Linear: one weight matrix of the model as an operator: transform of the input, product by a
// kernel or by decoded panels, transform of the output, bias.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/context.h"
#include "formats/format.h"
#include "kernels/int8_activations.h"
#include "kernels/packed_view.h"
#include "kernels/select.h"
#include "model/model_files.h"
#include "tensor/row_source.h"
#include "tensor/tensor.h"
#include "transform/transform.h"

namespace twofold {

class Linear;

/// How the engine multiplies m rows by a packed matrix: with the best of the kernels that can
/// (kernels_of its format), or, if null, by decoding panels for the float product.
const Kernel* product_kernel(std::span<const Kernel* const> kernels, int64_t m, const Context& ctx);

/// One input on its way through the linears that read it: what they share is made once.
class LinearInput {
 public:
  /// @param x [m, cols] in the model's basis; must outlive this.
  /// @param one_basis all linears that will read it store their input side in the same basis.
  LinearInput(Matrix<const float> x, bool one_basis) : x_(x), one_basis_(one_basis) {}

 private:
  friend class Linear;
  /// x in the stored basis of `linear`.
  Matrix<const float> in_basis(const Linear& linear, const Context& ctx);
  /// The same, rounded to int8. Valid until the basis or the rounding changes.
  Int8Activations& rounded(const Linear& linear, const ActivationRounding& rounding,
                           const Context& ctx);

  bool made_for(const Linear* maker, const Linear& linear) const {
    return maker != nullptr && (one_basis_ || maker == &linear);
  }

  Matrix<const float> x_;
  bool one_basis_;
  const Linear* made_by_ = nullptr;  // whose basis `in_basis_` is in
  AlignedBuffer<float> in_basis_;    // [m, cols], unless it is the model's own
  std::optional<Int8Activations> rounded_;
  const Linear* rounded_by_ = nullptr;
  std::vector<AlignedBuffer<uint8_t>> scratch_;  // of each worker
  AlignedBuffer<float> digits_;                  // products of digits, [2 m, rows of the matrix]
};

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
  /// The same for one of several linears that read one input.
  void apply(LinearInput& x, Matrix<float> y, const Context& ctx) const;
  /// True if both store their input side in the same basis.
  bool shares_input(const Linear& other) const;
  /// Rows of W in the model's basis (an embedding table's look-up): out [cols].
  void row(int64_t index, float* out) const;
  /// True if rows are stored in the model's own basis, so that they can be looked up.
  bool in_model_basis() const { return transform_ == nullptr; }

 private:
  void bind_stored_transform(const ModelFiles& files, const Slot& slot);
  void bind_transform(const TransformSpec& spec);
  friend class LinearInput;
  void set_kernels();
  AlignedBuffer<float> input_in_basis(Matrix<const float> x, const Context& ctx) const;
  void multiply(LinearInput& x, Matrix<float> y, const Context& ctx) const;
  void multiply_rounded(const Kernel& kernel, LinearInput& x, Matrix<float> y,
                        const Context& ctx) const;

  std::unique_ptr<RowSource> source_;
  std::optional<PackedMatrix> packed_;
  PackedView view_;                     // of packed_, if kernels_ has any
  std::vector<const Kernel*> kernels_;  // that can multiply packed_
  ActivationRounding rounding_;
  TransformSpec spec_;
  std::unique_ptr<const PreparedTransform> transform_;  // null: stored in the model's basis
  std::vector<float> bias_;                             // [rows] or empty
  int64_t stored_bytes_ = 0;
};

}  // namespace twofold

// Transform: an invertible change of basis of a weight matrix and of its input's second moment.
// Stored as seeds and vectors, never as a dense matrix. The input side belongs to the layer input
// (q, k and v share it), its random numbers keyed by the input's name; the output side to the
// matrix. A fitted transform is a value: TransformSpec says all that is needed to apply it again.
// `prepare` does once what applying would repeat for each token (drawing random factors).
//
// Stored basis: W' = U W V^-1, so that y = W x is U^-1 (W' (V x)), and H' = V H V^T. V is the input
// side (apply_input), U the output side (undo_output).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace twofold {

/// What a quantized matrix stores of its transform. `name` is a row of `all_transforms`.
struct TransformSpec {
  std::string name = "none";
  uint64_t input_seed = 0, output_seed = 0;
  std::vector<float> input_scale;  // [cols], empty if the transform has none
  friend bool operator==(const TransformSpec&, const TransformSpec&) = default;
};

/// A transform ready to be applied to one matrix [rows, cols]. Immutable; all calls are thread-safe
/// and work in place. Leading dimensions come from the arguments: any number of activations at
/// once.
class PreparedTransform {
 public:
  virtual ~PreparedTransform() = default;
  /// True if every function below leaves its argument as it is: callers may then skip copies.
  virtual bool identity() const { return false; }
  /// W [rows, cols] into the stored basis, and back.
  virtual void apply_weight(Matrix<float> weight) const = 0;
  virtual void undo_weight(Matrix<float> weight) const = 0;
  /// H [cols, cols] into the stored basis.
  virtual void apply_moment(Matrix<double> moment) const = 0;
  /// Activations x [m, cols] into the stored basis, and outputs y [m, rows] back.
  virtual void apply_input(Matrix<float> x) const = 0;
  virtual void undo_output(Matrix<float> y) const = 0;
};

/// One entry of the registry.
struct Transform {
  std::string_view name, paper, help;
  /// Fits for a weight [rows, cols]; `moment` is the input's second moment [cols, cols] or empty.
  TransformSpec (*fit)(Matrix<const float> weight, Matrix<const double> moment, uint64_t seed,
                       std::string_view input_name, std::string_view matrix_name);
  /// @throws Error(kCorruptFile) if `spec` cannot belong to a matrix of this shape.
  std::unique_ptr<const PreparedTransform> (*prepare)(const TransformSpec& spec, int64_t rows,
                                                      int64_t cols);
  /// Bytes that storing the specification costs beside the packed matrix.
  int64_t (*stored_bytes)(const TransformSpec& spec);
};

std::span<const Transform> all_transforms();
/// @throws Error(kInvalidArgument) listing the names.
const Transform& find_transform(std::string_view name);

/// `prepare` of the transform that `spec` names.
/// @throws Error(kInvalidArgument) for an unknown name, Error(kCorruptFile) as `prepare`.
std::unique_ptr<const PreparedTransform> prepare_transform(const TransformSpec& spec, int64_t rows,
                                                           int64_t cols);

}  // namespace twofold

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
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/params.h"
#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace twofold {

/// What a quantized matrix stores of its transform. `name` is a row of `all_transforms`. Everything
/// but output_seed is the input side: equal for all matrices that share it.
struct TransformSpec {
  std::string name = "none";
  std::string variant;  // which construction, where a transform has several
  uint64_t input_seed = 0, output_seed = 0;
  /// Of the random factors, so that a machine that drew others is found out; 0 if there are none
  /// that could differ.
  uint64_t input_checksum = 0, output_checksum = 0;
  /// [cols] positive binary16 values that multiply the input, empty if the transform has none.
  std::vector<float> input_scale;
  friend bool operator==(const TransformSpec&, const TransformSpec&) = default;
};

/// A transform ready to be applied to one matrix [rows, cols]. Immutable; all calls are thread-safe
/// and work in place. Leading dimensions come from the arguments: any number of activations at
/// once. What is done to weights and moments is portable: the same numbers on every machine.
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
  /// The result for one row does not depend on the others.
  virtual void apply_input(Matrix<float> x, Isa isa) const = 0;
  virtual void undo_output(Matrix<float> y, Isa isa) const = 0;
};

/// What the input side is fitted to.
struct TransformProblem {
  std::vector<Matrix<const float>> weights;  // every matrix that reads the input, [rows_i, cols]
  Matrix<const double> moment;               // [cols, cols], damped; empty if it is not known
  std::span<const double> mean_magnitude;    // [cols] mean of |x_j|; empty if it is not known
  Params params;                             // complete for Transform::params
  uint64_t seed = 0;
  std::string_view name;  // of the input (of the matrix if fitted per matrix): key of its numbers
  /// Loss of rounding the weights by the method's own grid with column j multiplied by
  /// column_scale[j] and the input divided by it: the sum of tr(E H E^T) over the matrices. Empty
  /// without a moment.
  std::function<double(std::span<const float> column_scale)> trial;
};

/// One entry of the registry.
struct Transform {
  std::string_view name, paper, help;
  std::vector<ParamSpec> params;
  /// Whether rows keep the model's basis, so that the matrix can be a table that is looked up.
  bool identity;
  /// Whether the input side cannot be fitted without the second moment.
  bool (*needs_moment)(const Params& params);
  /// Checks a matrix of this shape, before anything is fitted. @return what a user should know of
  /// it, for the report; empty if nothing.
  /// @throws Error(kUnsupported) naming the side that the transform has no construction for.
  std::string (*check_shape)(const Params& params, int64_t rows, int64_t cols);
  /// Whether each matrix has an input side of its own, as some papers publish it.
  bool (*per_matrix)(const Params& params);
  /// Whether a vector input_scale is stored; known before fitting, for file headers.
  bool (*has_input_scale)(const Params& params);
  /// Fits the input side; what belongs to the output side stays 0.
  /// @throws Error(kInvalidArgument) if a needed moment is missing, Error(kUnsupported) as
  /// `check_shape`.
  TransformSpec (*fit_input)(const TransformProblem& problem, ThreadPool& pool);
  /// Adds the output side of one matrix of `rows` rows to its input side.
  void (*add_output)(TransformSpec& spec, uint64_t seed, std::string_view matrix_name,
                     int64_t rows);
  /// With `rows` = 0 the input side alone: only the moment and inputs may be transformed.
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

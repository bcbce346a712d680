// OutputPlan: what a quantized folder will hold, tensor by tensor, decided from recipe and shapes
// alone, so that the header of the weight file can be written before any weight is read.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "formats/format.h"
#include "io/safetensors.h"
#include "model/model_files.h"
#include "pipeline/recipe.h"

namespace twofold {

/// One tensor of the output.
struct PlannedTensor {
  Slot slot;                           // its source; name is the one in the output
  std::optional<MethodChoice> choice;  // nothing: kept
  Format format;                       // packed, or dense for kept matrices and vectors
  TensorPlan stored;                   // as the file will hold it
  std::string input_scale = {};        // tensor of its transform's scale vector; empty: none
};

/// The linears that read one layer input.
struct PlannedInput {
  std::string name;
  std::vector<PlannedTensor> linears;
  int64_t expert = -1;     // Slot::expert
  std::string wider = {};  // Slot::wider_input
};

/// The quantized matrices of one block; layer -1 for those outside of blocks, whose inputs have no
/// name.
struct PlannedBlock {
  int layer = -1;
  std::vector<PlannedInput> inputs;
};

/// Tensors in the order in which they are written: the matrices of `blocks` (packed blobs are whole
/// multiples of 64 bytes, so each starts aligned), kept matrices, then vectors,
/// those of transforms last.
struct OutputPlan {
  std::vector<PlannedBlock> blocks;
  std::vector<PlannedTensor> kept;
  /// Scale vectors of transforms, one for all matrices that share it.
  std::vector<TensorPlan> input_scales;
  /// The source has one matrix for table and head; the output has two, treated differently.
  bool untied_head = false;
  /// Rules of the recipe, counted from 1, that decide about no tensor.
  std::vector<size_t> idle_rules;

  std::vector<TensorPlan> stored() const;
  /// Number of two-dimensional tensors.
  int64_t matrices() const;
};

/// "__metadata__" of the weight files.
std::map<std::string, std::string> weight_metadata();
/// Bytes of all weight files.
uint64_t weight_file_bytes(const OutputPlan& plan);

/// @throws Error(kInvalidArgument) if a matrix cannot be stored as the recipe wants it, or if no
/// rule decides about any tensor.
OutputPlan plan_output(const ModelFiles& source, const Recipe& recipe);

}  // namespace twofold
